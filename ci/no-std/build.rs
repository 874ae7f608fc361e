//! Links the binary without start files and without libc.
//!
//! The arguments go to the binary alone. In `RUSTFLAGS`, without `--target`, they would go to this script as well,
//! which would then crash before its first line.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie"] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
}
