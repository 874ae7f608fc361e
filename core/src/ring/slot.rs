//! One place of a ring, and where rings keep them.

use core::fmt;
use core::mem::MaybeUninit;

#[cfg(feature = "alloc")]
use super::{CapacityError, MAX_CAPACITY};
use crate::sync::{AtomicUsize, UnsafeCell, const_fn};

/// One place of a ring: a stamp and room for a value.
///
/// Slots lie packed, one behind the other. A ring is written and read in order, so neighbours are used by the same side
/// within moments, and the processor fetches the lines ahead of it. Giving each slot cache lines of its own was measured
/// as up to four times slower with 64-byte values, because that doubles the lines that must cross.
pub struct Slot<T> {
    /// Whose turn it is; `shape.rs` says how. All that orders the accesses to `value`.
    pub(crate) stamp: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Slot<T> {
    const_fn! {
        pub(crate) const fn new() -> Self {
            Self { stamp: AtomicUsize::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) }
        }
    }

    /// Makes a value in the slot.
    ///
    /// # Safety
    ///
    /// Nobody else uses the slot's value meanwhile. What was there is not dropped.
    #[inline(always)]
    pub(crate) unsafe fn write_with(&self, make: impl FnOnce() -> T) {
        self.value.with_mut(|place| {
            // SAFETY: nobody else uses the value meanwhile, says the caller.
            let place = unsafe { &mut *place };
            place.write(make());
        });
    }

    /// Puts a value in.
    ///
    /// # Safety
    ///
    /// The caller must be the only one who uses the slot's value, and the slot must hold none (or it is not dropped).
    #[inline(always)]
    pub(crate) unsafe fn write(&self, value: T) {
        // SAFETY: nobody else uses the value meanwhile, says the caller.
        self.value.with_mut(|place| unsafe { (*place).write(value) });
    }

    /// Takes the value out.
    ///
    /// # Safety
    ///
    /// The caller must be the only one who uses the slot's value, the slot must hold one, and nobody may take or look at
    /// it again before the next [`write`](Self::write).
    #[inline(always)]
    pub(crate) unsafe fn take(&self) -> T {
        // As one who writes, so that the models report anybody who still looks at what leaves.
        self.value.with_mut(|place| {
            // SAFETY: nobody else uses the value meanwhile, says the caller.
            let place = unsafe { &*place };
            // SAFETY: the slot holds a value, says the caller, and nobody reads it again.
            unsafe { place.assume_init_read() }
        })
    }

    /// Lends the value to `look`.
    ///
    /// # Safety
    ///
    /// The slot must hold a value, and nobody may change it or take it out until `look` returns.
    #[inline]
    pub(crate) unsafe fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        self.value.with(|place| {
            // SAFETY: nobody changes the value meanwhile, says the caller.
            let place = unsafe { &*place };
            // SAFETY: the slot holds a value, says the caller.
            look(unsafe { place.assume_init_ref() })
        })
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

/// Where a ring keeps its slots; implemented for arrays and, with `alloc`, for boxed slices.
pub trait Storage<T>: sealed::Sealed {
    /// All slots, in order. The slice is the same at every call.
    fn slots(&self) -> &[Slot<T>];
}

mod sealed {
    use crate::ring::Shape;

    pub trait Sealed {
        /// The shape of the ring: a constant where the type says how many slots there are, so that the compiler computes
        /// with it; else `stored`, which is the same.
        #[inline(always)]
        fn shape(stored: Shape) -> Shape {
            stored
        }
    }

    impl<T, const N: usize> Sealed for [super::Slot<T>; N] {
        #[inline(always)]
        fn shape(_stored: Shape) -> Shape {
            const { Shape::of(N) }
        }
    }

    #[cfg(feature = "alloc")]
    impl<T> Sealed for alloc::boxed::Box<[super::Slot<T>]> {}
}

impl<T, const N: usize> Storage<T> for [Slot<T>; N] {
    #[inline(always)]
    fn slots(&self) -> &[Slot<T>] {
        self
    }
}

#[cfg(feature = "alloc")]
impl<T> Storage<T> for alloc::boxed::Box<[Slot<T>]> {
    #[inline(always)]
    fn slots(&self) -> &[Slot<T>] {
        self
    }
}

/// That many slots on the heap, or an error for a capacity that no ring can have.
#[cfg(feature = "alloc")]
pub(crate) fn boxed<T>(capacity: usize) -> Result<alloc::boxed::Box<[Slot<T>]>, CapacityError> {
    if capacity == 0 || capacity > MAX_CAPACITY {
        return Err(CapacityError { capacity });
    }
    Ok((0..capacity).map(|_| Slot::new()).collect())
}

/// Keeps a word away from its neighbours' cache lines (two lines: x86 prefetches them in pairs).
#[derive(Debug)]
#[cfg_attr(target_pointer_width = "64", repr(align(128)))]
pub(crate) struct Padded<T>(pub(crate) T);
