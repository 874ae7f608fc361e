//! Emitting while another thread subscribes and unsubscribes.

use nervebus_benches::churn;

fn main() {
    churn::run();
}
