//! RISC-V, as QEMU's `virt` board has it: machine timer interrupts, and semihosting.

use core::fmt;

use riscv::interrupt::Interrupt;
use riscv::register::mie;
use riscv_rt::{core_interrupt, entry};
use semihosting::{print, process};

/// The instruction set of this board.
pub const NAME: &str = "RV32IMAC";

/// Ticks of the timer from one interrupt to the next: 200 microseconds at 10 MHz.
const PERIOD: u64 = 2_000;
/// The time, and when the next interrupt is due, as two halves each (SiFive's CLINT).
const TIME: *const u32 = 0x0200_bff8 as *const u32;
const DUE: *mut u32 = 0x0200_4000 as *mut u32;

#[entry]
fn enter() -> ! {
    crate::main()
}

#[core_interrupt(Interrupt::MachineTimer)]
fn timer() {
    set_timer();
    crate::program::tick();
}

/// Has the timer interrupt a period from now; late interrupts are not made up for.
fn set_timer() {
    // SAFETY: the board has a register there, which may be read at any time.
    let low = unsafe { TIME.read_volatile() };
    // SAFETY: as above. The program ends long before the low half wraps, so the two belong together.
    let high = unsafe { TIME.add(1).read_volatile() };
    let due = (u64::from(high) << 32 | u64::from(low)) + PERIOD;
    // SAFETY: the board has a register there, and only this function writes it.
    unsafe { DUE.write_volatile(due as u32) };
    // SAFETY: as above.
    unsafe { DUE.add(1).write_volatile((due >> 32) as u32) };
}

/// Starts the interrupts.
pub fn start() {
    set_timer();
    // SAFETY: the handler is in place, and nothing relies on its not being called.
    unsafe { mie::set_mtimer() };
    // SAFETY: as above.
    unsafe { riscv::interrupt::enable() };
}

/// Prints a line.
pub fn say(line: fmt::Arguments<'_>) {
    print!("{line}\n");
}

/// Ends the program.
pub fn exit(success: bool) -> ! {
    process::exit(i32::from(!success))
}
