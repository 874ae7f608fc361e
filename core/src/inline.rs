//! A small value of any type, kept in place behind a trait object.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};

/// Says how a value is seen as a `D`, typically a `dyn Trait`.
///
/// Stable Rust cannot turn `T` into `dyn Trait` generically; an implementation of this trait is the one line that does.
pub trait Upcast<D: ?Sized> {
    /// `self`, seen as a `D`.
    fn upcast(&self) -> &D;
    /// `self`, seen as a `D` that can be changed.
    fn upcast_mut(&mut self) -> &mut D;
}

/// Owns one value of at most `WORDS` machine words, of a type known only when it was made, and derefs to `D`.
///
/// An event's payload travels through a ring inside its slot this way: no allocation, no pointer to chase. A value that
/// is too large, or aligned more strictly than a machine word, comes back from [`new`](Self::new).
///
/// # Cost
///
/// No allocation. Moving it copies all `WORDS` words whatever the value's size; looking inside is one indirect call.
///
/// # Examples
///
/// ```
/// use nervebus_core::inline::{Inline, Upcast};
///
/// trait Area { fn area(&self) -> u32; }
/// struct Square(u32);
/// impl Area for Square { fn area(&self) -> u32 { self.0 * self.0 } }
/// impl Upcast<dyn Area> for Square {
///     fn upcast(&self) -> &(dyn Area + 'static) { self }
///     fn upcast_mut(&mut self) -> &mut (dyn Area + 'static) { self }
/// }
///
/// let shape: Inline<dyn Area, 4> = Inline::new(Square(3)).ok().unwrap();
/// assert_eq!(shape.area(), 9);
/// ```
pub struct Inline<D: ?Sized + 'static, const WORDS: usize> {
    /// In a cell, because the value may have one: a shared reference to the place must not promise that it stays as it is.
    place: UnsafeCell<MaybeUninit<[usize; WORDS]>>,
    kind: &'static Kind<D>,
    marker: PhantomData<D>,
}

/// What must be known of the value's type: one static table for each type.
struct Kind<D: ?Sized + 'static> {
    view: unsafe fn(*const ()) -> *const D,
    view_mut: unsafe fn(*mut ()) -> *mut D,
    drop: unsafe fn(*mut ()),
}

/// Makes the table of one type a constant.
struct KindOf<T, D: ?Sized>(PhantomData<(T, PhantomData<D>)>);

impl<T: Upcast<D> + 'static, D: ?Sized + 'static> KindOf<T, D> {
    const KIND: &'static Kind<D> = &Kind {
        // SAFETY (of every call of the three): the pointer is to a live `T`; see the calls below.
        view: |place| {
            // SAFETY: the caller passes a pointer to a live `T` that nobody changes meanwhile.
            unsafe { &*place.cast::<T>() }.upcast()
        },
        view_mut: |place| {
            // SAFETY: the caller passes a pointer to a live `T` that nobody else uses meanwhile.
            unsafe { &mut *place.cast::<T>() }.upcast_mut()
        },
        drop: |place| {
            // SAFETY: the caller passes a pointer to a live `T` and never uses it again.
            unsafe { place.cast::<T>().drop_in_place() }
        },
    };
}

// SAFETY: the only value inside is a `T: Send + Sync`, which `new` demands whatever `D` says.
unsafe impl<D: ?Sized, const WORDS: usize> Send for Inline<D, WORDS> {}
// SAFETY: as above; a shared `Inline` hands out nothing but views of its `T: Sync`.
unsafe impl<D: ?Sized, const WORDS: usize> Sync for Inline<D, WORDS> {}

impl<D: ?Sized + 'static, const WORDS: usize> Inline<D, WORDS> {
    /// Whether a `T` fits: at most `WORDS` words, aligned no more strictly than one.
    pub const fn fits<T>() -> bool {
        size_of::<T>() <= size_of::<[usize; WORDS]>() && align_of::<T>() <= align_of::<usize>()
    }

    /// Takes the value in.
    ///
    /// # Errors
    ///
    /// The value itself, when it does not [fit](Self::fits).
    pub fn new<T: Upcast<D> + Send + Sync + 'static>(value: T) -> Result<Self, T> {
        if !Self::fits::<T>() {
            return Err(value);
        }
        let mut place = MaybeUninit::<[usize; WORDS]>::uninit();
        // SAFETY: `fits` has checked that the place is large enough and aligned for a `T`; the place is ours.
        unsafe { place.as_mut_ptr().cast::<T>().write(value) };
        Ok(Self { place: UnsafeCell::new(place), kind: KindOf::<T, D>::KIND, marker: PhantomData })
    }
}

impl<D: ?Sized, const WORDS: usize> Deref for Inline<D, WORDS> {
    type Target = D;

    #[inline]
    fn deref(&self) -> &D {
        // SAFETY: `new` wrote a value of the type that `kind` was made for, and only `drop` takes it out; `&self`
        // keeps it from being changed.
        let view = unsafe { (self.kind.view)(self.place.get().cast_const().cast()) };
        // SAFETY: the pointer was a reference derived from `self` a moment ago, and `self` is still borrowed.
        unsafe { &*view }
    }
}

impl<D: ?Sized, const WORDS: usize> DerefMut for Inline<D, WORDS> {
    #[inline]
    fn deref_mut(&mut self) -> &mut D {
        // SAFETY: as in `deref`; `&mut self` keeps everybody else away.
        let view = unsafe { (self.kind.view_mut)(self.place.get().cast()) };
        // SAFETY: as in `deref`.
        unsafe { &mut *view }
    }
}

impl<D: ?Sized, const WORDS: usize> Drop for Inline<D, WORDS> {
    fn drop(&mut self) {
        // SAFETY: the value written by `new` is still there, and nothing uses it after this.
        unsafe { (self.kind.drop)(self.place.get().cast()) };
    }
}

impl<D: ?Sized + fmt::Debug, const WORDS: usize> fmt::Debug for Inline<D, WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
