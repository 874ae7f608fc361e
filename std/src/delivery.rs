//! The way of an event from the emitter to its handlers, and the account of it.

pub(crate) mod async_handler;
pub(crate) mod class;
pub(crate) mod count;
pub(crate) mod dead_letters;
pub(crate) mod deliver;
pub(crate) mod directory;
pub(crate) mod emit;
pub(crate) mod engine;
pub(crate) mod envelope;
pub(crate) mod failure;
pub(crate) mod handler;
pub(crate) mod histogram;
pub(crate) mod idle;
pub(crate) mod lane;
pub(crate) mod ledger;
pub(crate) mod reply;
pub(crate) mod report;
pub(crate) mod retry;
pub(crate) mod room;
pub(crate) mod shed;
pub(crate) mod shutdown;
pub(crate) mod spill;
pub(crate) mod subscription;
pub(crate) mod timer;
pub(crate) mod timing;
pub(crate) mod worker;
