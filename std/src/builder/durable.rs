//! The durable log's part in building a bus.

use std::io;
use std::sync::{Arc, Barrier};

use nervebus_core::LaneId;

use super::threads::start as start_queue;
use super::{Builder, queue};
use crate::context;
use crate::delivery::engine::Engine;
use crate::delivery::log_tap::LogTap;
use crate::error::BuildError;
use crate::platform::log_store::fjall::FjallFolder;
use crate::platform::log_store::{LogStore, OpenLog};
use crate::platform::threads;
use crate::records::durable::DurableLog;
use crate::records::durable::core::Core;
use crate::records::durable::feed::Feed;
use crate::records::durable::writer::LogWriter;

/// The lane of the durable log's thread, and of the one that feeds durable subscriptions.
const LOG: LaneId = LaneId::new(u16::MAX - 2);
const FEED: LaneId = LaneId::new(u16::MAX - 3);

/// What a user has asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) log: DurableLog,
    /// Where it is kept, if not in a folder of this machine.
    opener: Option<Box<dyn OpenLog>>,
}

/// A store that was opened, and how to open it again.
pub(super) type Opened = (Box<dyn OpenLog>, Box<dyn LogStore>);

impl Builder {
    /// Keeps a durable log. Default: none.
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn durable(mut self, log: DurableLog) -> Self {
        self.guards.logged = log.patterns.iter().map(|pattern| pattern.as_str().into()).collect();
        self.durable = Some(Asked { log, opener: None });
        self
    }

    /// Keeps the durable log elsewhere than in a folder of this machine.
    #[cfg(test)]
    pub(crate) fn log_store(mut self, opener: impl OpenLog + 'static) -> Self {
        if let Some(asked) = &mut self.durable {
            asked.opener = Some(Box::new(opener));
        }
        self
    }

    /// Opens the durable log's store.
    pub(super) fn open_durable(&mut self) -> Result<Option<Opened>, BuildError> {
        let Some(asked) = &mut self.durable else { return Ok(None) };
        let (path, buffer) = (asked.log.path.clone(), asked.log.buffer);
        let opener = asked.opener.take().unwrap_or_else(|| Box::new(FjallFolder { path, buffer }));
        let store = opener.open(false).map_err(|error| BuildError::Durable { path: asked.log.path.clone(), error })?;
        Ok(Some((opener, store)))
    }

    /// The durable log, as emitters see it.
    pub(super) fn log(&self, bus: u64) -> Result<Option<Arc<LogTap>>, BuildError> {
        let Some(asked) = &self.durable else { return Ok(None) };
        let queue = queue(LOG, &asked.log.lane, 0, &self.clock, None)?;
        Ok(Some(Arc::new(LogTap::new(bus, queue, asked.log.level))))
    }

    /// What the log's threads share, and who writes it.
    pub(super) fn durable_threads(
        &self,
        engine: &Arc<Engine>,
        opened: Option<Opened>,
    ) -> Result<Option<(Arc<Core>, LogWriter)>, BuildError> {
        let (Some(asked), Some(log), Some((opener, store))) = (&self.durable, &engine.log, opened) else {
            return Ok(None);
        };
        let made = Core::new(asked.log.clone(), Arc::clone(log), opener, store).map(Arc::new);
        let made = made.and_then(|core| Ok((Arc::clone(&core), LogWriter::new(Arc::clone(engine), core)?)));
        made.map(Some).map_err(|error| BuildError::Durable { path: asked.log.path.clone(), error })
    }
}

/// Starts the thread that writes the log, the one that feeds durable subscriptions, and what is done now and then.
pub(super) fn start(engine: &Arc<Engine>, core: Arc<Core>, writer: LogWriter) -> Result<(), BuildError> {
    let queue = Arc::clone(&core.tap.queue);
    start_queue(&queue, || writer.run())?;
    let failed = |error: io::Error| BuildError::Thread { lane: "durable".into(), error };
    let feed = Feed { engine: Arc::clone(engine), core: Arc::clone(&core) };
    let running = Arc::new(Barrier::new(2));
    let (begun, bus) = (Arc::clone(&running), engine.bus);
    let body = move || {
        context::become_worker(bus, FEED);
        begun.wait();
        feed.run();
    };
    threads::spawn("nervebus-feed".into(), body).map_err(failed)?;
    running.wait();
    let every = core.settings.sync_every.min(core.settings.checkpoint_every);
    let core = Arc::downgrade(&core);
    engine.timer.every(every, move |_| {
        if let Some(core) = core.upgrade() {
            core.want_chores();
        }
    });
    Ok(())
}
