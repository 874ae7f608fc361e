//! The runtime whose resources async handlers may use, if there is one.

/// A handle of the runtime, if there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runtime {
    #[cfg(feature = "tokio")]
    handle: Option<tokio::runtime::Handle>,
}

impl Runtime {
    /// This runtime.
    #[cfg(feature = "tokio")]
    pub(crate) const fn of(handle: tokio::runtime::Handle) -> Self {
        Self { handle: Some(handle) }
    }

    /// This one, or else the one that this thread is in.
    pub(crate) fn or_current(self) -> Self {
        #[cfg(feature = "tokio")]
        if self.handle.is_none() {
            return Self { handle: tokio::runtime::Handle::try_current().ok() };
        }
        self
    }

    /// Calls `act` inside the runtime: what it makes finds the runtime's timers and sockets.
    pub(crate) fn within<R>(&self, act: impl FnOnce() -> R) -> R {
        #[cfg(feature = "tokio")]
        let _inside = self.handle.as_ref().map(tokio::runtime::Handle::enter);
        act()
    }
}
