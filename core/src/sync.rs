//! The only door to atomics, cells and spin hints.
//!
//! Everything in this crate that another thread can see goes through here, so that the loom models in `loom-tests`
//! run this crate's own code and not a copy of it. Two back ends: the language's atomics, and loom's under
//! `--cfg nervebus_loom` (a cfg of our own: `--cfg loom` would switch every dependency as well).

#[cfg(not(nervebus_loom))]
mod imp {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// A cell that hands out raw pointers inside closures, the shape loom can check.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        /// Calls `f` with a pointer that is read through.
        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Calls `f` with a pointer that is written through.
        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    #[inline(always)]
    pub(crate) fn spin_loop() {
        core::hint::spin_loop();
    }
}

#[cfg(nervebus_loom)]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    /// Under loom a spin must let another thread run, or the model never ends.
    pub(crate) fn spin_loop() {
        loom::thread::yield_now();
    }
}

pub(crate) use imp::*;

/// Declares a function that is `const` except under loom, whose atomics have no const constructor.
macro_rules! const_fn {
    ($(#[$meta:meta])* $vis:vis const fn $($rest:tt)*) => {
        $(#[$meta])* #[cfg(not(nervebus_loom))] $vis const fn $($rest)*
        $(#[$meta])* #[cfg(nervebus_loom)] $vis fn $($rest)*
    };
}
pub(crate) use const_fn;

/// An array of equal cells: a constant, except under loom.
macro_rules! const_array {
    ($cell:expr) => {{
        #[cfg(not(nervebus_loom))]
        {
            [const { $cell }; _]
        }
        #[cfg(nervebus_loom)]
        {
            core::array::from_fn(|_| $cell)
        }
    }};
}
pub(crate) use const_array;
