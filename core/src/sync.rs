//! The only door to atomics, cells and spin hints.
//!
//! Everything in this crate that another thread can see goes through here, so that the loom models in `loom-tests`
//! run this crate's own code and not a copy of it. Three back ends: the language's atomics; those of `portable-atomic`
//! with the feature of that name, for targets that cannot compare and swap; and loom's under `--cfg nervebus_loom` (a cfg
//! of our own: `--cfg loom` would switch every dependency as well).

#[cfg(not(any(target_has_atomic = "ptr", feature = "portable-atomic", nervebus_loom)))]
compile_error!(
    "this target cannot compare and swap: turn on the feature `critical-section` of nervebus-core, or its feature \
     `portable-atomic` together with another way in which portable-atomic can"
);

#[cfg(not(nervebus_loom))]
mod imp {
    #[cfg(all(feature = "alloc", any(target_has_atomic = "64", feature = "critical-section")))]
    pub(crate) use alloc::sync::Arc;
    #[cfg(all(not(feature = "portable-atomic"), target_has_atomic = "64"))]
    pub(crate) use core::sync::atomic::AtomicU64;
    #[cfg(not(feature = "portable-atomic"))]
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    #[cfg(all(feature = "portable-atomic", any(target_has_atomic = "64", feature = "critical-section")))]
    pub(crate) use portable_atomic::AtomicU64;
    #[cfg(feature = "portable-atomic")]
    pub(crate) use portable_atomic::{AtomicBool, AtomicUsize, Ordering};

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

    /// Before looking again after somebody else was faster: nothing to wait for, the next look shows it.
    #[inline(always)]
    pub(crate) fn look_again() {}
}

#[cfg(nervebus_loom)]
#[allow(dead_code, reason = "each wrapper has what any of them needs")]
mod imp {
    pub(crate) use loom::cell::UnsafeCell;
    #[cfg(feature = "alloc")]
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::Ordering;
    use loom::sync::atomic::{self, AtomicUsize as Witness};

    /// Wraps one of loom's atomics so that no load of it is overlooked.
    ///
    /// Loom (0.7.2) decides which orders to try from the *last* access to a location. When a thread loads a location
    /// that another thread has loaded before, and then writes it, the first load is forgotten, and the order 'write
    /// before that load' is never tried: a model of one push against one pop explored a single execution. A relaxed
    /// addition of nothing to a word beside it, before each load, is an access that is never overlooked, and orders
    /// nothing; with it the same model explores 119.
    macro_rules! witnessed {
        ($name:ident, $value:ty $(, $change:ident)*) => {
            #[derive(Debug)]
            pub(crate) struct $name {
                atomic: atomic::$name,
                loads: Witness,
            }

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self { atomic: atomic::$name::new(value), loads: Witness::new(0) }
                }

                fn witness(&self) -> &atomic::$name {
                    self.loads.fetch_add(0, Ordering::Relaxed);
                    &self.atomic
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.witness().load(order)
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.witness().store(value, order);
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.witness().swap(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.witness().compare_exchange(current, new, success, failure)
                }

                pub(crate) fn compare_exchange_weak(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.witness().compare_exchange_weak(current, new, success, failure)
                }
                $(
                pub(crate) fn $change(&self, value: $value, order: Ordering) -> $value {
                    self.witness().$change(value, order)
                }
                )*
            }
        };
    }

    witnessed!(AtomicBool, bool);
    witnessed!(AtomicUsize, usize, fetch_add, fetch_sub, fetch_or, fetch_and);
    witnessed!(AtomicU64, u64, fetch_add, fetch_max, fetch_or);

    /// Under loom a spin must let another thread run, or the model never ends.
    pub(crate) fn spin_loop() {
        loom::thread::yield_now();
    }

    /// Loom may show the same old value for ever, as the memory model allows; after a yield it shows a newer one.
    pub(crate) fn look_again() {
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
