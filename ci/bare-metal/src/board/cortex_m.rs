//! Cortex-M: SysTick interrupts, and semihosting.

use core::fmt;

use cortex_m::Peripherals;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::{entry, exception};
use cortex_m_semihosting::{debug, hprintln};

/// The instruction set of this board.
pub const NAME: &str = if cfg!(target_feature = "mclass") && cfg!(target_has_atomic = "ptr") {
    "Cortex-M4"
} else {
    "Cortex-M0, without compare-and-swap"
};

/// Clock cycles from one interrupt to the next: 200 microseconds at 25 MHz.
const PERIOD: u32 = 5_000;

#[entry]
fn enter() -> ! {
    crate::main()
}

#[exception]
fn SysTick() {
    crate::program::tick();
}

/// Starts the interrupts.
pub fn start() {
    let Some(mut board) = Peripherals::take() else { return };
    board.SYST.set_clock_source(SystClkSource::Core);
    board.SYST.set_reload(PERIOD);
    board.SYST.clear_current();
    board.SYST.enable_interrupt();
    board.SYST.enable_counter();
}

/// Prints a line.
pub fn say(line: fmt::Arguments<'_>) {
    hprintln!("{}", line);
}

/// Ends the program.
pub fn exit(success: bool) -> ! {
    debug::exit(if success { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}
