//! What a subscriber runs when an event arrives.

/// Handles events of type `E`.
///
/// A handler is shared by every thread that dispatches, so it takes `&self`; what it changes it guards itself. Its error
/// is handed to whoever dispatches and never stops the other handlers. A panic is not an error: it unwinds out of
/// [`dispatch`](crate::dispatch()), and the handlers behind it are not called.
///
/// References, `fn` pointers and (with `alloc`) `Box` and `Arc` of a handler are handlers themselves. Closures are not:
/// a blanket implementation for them would shut out every other type. Where there is an allocator, put the handler in an `Arc` (a table clones its handlers when it changes);
/// where there is none, use an enum, a `fn` pointer or `&'static dyn Handler<E, Error = ...>`.
///
/// # Cost
///
/// Whatever the handler does; the trait adds nothing, or one indirect call behind `dyn`.
///
/// # Examples
///
/// ```
/// use nervebus_core::Handler;
///
/// struct Threshold(u32);
///
/// impl Handler<u32> for Threshold {
///     type Error = &'static str;
///
///     fn handle(&self, reading: &u32) -> Result<(), Self::Error> {
///         if *reading > self.0 { Err("too hot") } else { Ok(()) }
///     }
/// }
///
/// let shared: &dyn Handler<u32, Error = &'static str> = &Threshold(30);
/// assert_eq!(shared.handle(&20), Ok(()));
/// assert_eq!(shared.handle(&40), Err("too hot"));
/// ```
pub trait Handler<E: ?Sized> {
    /// What the handler says when it fails.
    type Error;

    /// Handles one event.
    ///
    /// # Errors
    ///
    /// Whatever the handler calls a failure; the event then counts as failed for this subscription.
    fn handle(&self, event: &E) -> Result<(), Self::Error>;
}

impl<E: ?Sized, H: Handler<E> + ?Sized> Handler<E> for &H {
    type Error = H::Error;

    #[inline]
    fn handle(&self, event: &E) -> Result<(), Self::Error> {
        (**self).handle(event)
    }
}

impl<E: ?Sized, X> Handler<E> for fn(&E) -> Result<(), X> {
    type Error = X;

    #[inline]
    fn handle(&self, event: &E) -> Result<(), Self::Error> {
        self(event)
    }
}

#[cfg(feature = "alloc")]
impl<E: ?Sized, H: Handler<E> + ?Sized> Handler<E> for alloc::boxed::Box<H> {
    type Error = H::Error;

    #[inline]
    fn handle(&self, event: &E) -> Result<(), Self::Error> {
        (**self).handle(event)
    }
}

#[cfg(all(feature = "alloc", target_has_atomic = "ptr"))]
impl<E: ?Sized, H: Handler<E> + ?Sized> Handler<E> for alloc::sync::Arc<H> {
    type Error = H::Error;

    #[inline]
    fn handle(&self, event: &E) -> Result<(), Self::Error> {
        (**self).handle(event)
    }
}
