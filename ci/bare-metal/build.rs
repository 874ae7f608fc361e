//! Gives the linker the memory map of the board that stands for the target.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = env::var("TARGET").expect("cargo names the target");
    let map = match target.as_str() {
        // mps2-an386, a Cortex-M4.
        "thumbv7em-none-eabihf" => {
            "MEMORY { FLASH : ORIGIN = 0x00000000, LENGTH = 1M RAM : ORIGIN = 0x20000000, LENGTH = 1M }"
        }
        // microbit, a Cortex-M0.
        "thumbv6m-none-eabi" => {
            "MEMORY { FLASH : ORIGIN = 0x00000000, LENGTH = 256K RAM : ORIGIN = 0x20000000, LENGTH = 16K }"
        }
        // virt, which loads the program into its RAM.
        "riscv32imac-unknown-none-elf" => {
            "MEMORY { RAM : ORIGIN = 0x80000000, LENGTH = 4M }
             REGION_ALIAS(\"REGION_TEXT\", RAM); REGION_ALIAS(\"REGION_RODATA\", RAM); REGION_ALIAS(\"REGION_DATA\", RAM);
             REGION_ALIAS(\"REGION_BSS\", RAM); REGION_ALIAS(\"REGION_HEAP\", RAM); REGION_ALIAS(\"REGION_STACK\", RAM);"
        }
        other => panic!("there is no board for {other}: see ci/bare_metal.sh"),
    };
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo names a folder"));
    fs::write(out.join("memory.x"), map).expect("the folder can be written");
    println!("cargo:rustc-link-search={}", out.display());
}
