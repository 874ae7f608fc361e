//! What differs between boards: where a program begins, its timer, its voice and its end.

#[cfg(target_arch = "arm")]
#[path = "board/cortex_m.rs"]
mod imp;
#[cfg(target_arch = "riscv32")]
#[path = "board/riscv.rs"]
mod imp;

pub use imp::{NAME, exit, say, start};
