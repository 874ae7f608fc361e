//! Emit with an audit log to a file, and the same emit without.

use criterion::Criterion;
use nervebus_benches::bus::{Audit, Audited};
use nervebus_benches::{Group, group, run};

fn measure(group: &mut Group<'_>, name: &str, audit: Audit) {
    // A new bus and a new file for every sample, so that no file grows beyond what one sample writes.
    group.bench_function(name, |bencher| bencher.iter_custom(|events| Audited::open(audit).run(events)));
}

fn audit_emit(criterion: &mut Criterion) {
    let mut group = group(criterion, "audit_emit");
    measure(&mut group, "nervebus/audit_off", Audit::Off);
    measure(&mut group, "nervebus/audit_file", Audit::File);
    group.finish();
}

fn main() {
    run(audit_emit);
}
