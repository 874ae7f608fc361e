//! The benchmarks of the predecessor, one for one, in events a second beside its own.

use nervebus_benches::predecessor;
use nervebus_benches::rounds::Rounds;

fn main() {
    predecessor::compare(&Rounds::from_args_or(21, 80_000));
}
