//! The bytes that a service and the agent share.
//!
//! SPEC.md beside this crate says what every byte means; this crate is its code: layout, records, the rings'
//! writer and reader, slots, counter rows, interned tables and the request page, and the few raw calls that
//! nobody offers safely. It knows neither tokio nor the model.
//!
//! Two rules hold everywhere. The writer never reads back what it needs: its own state is private. The reader
//! copies first and then decodes: any byte pattern is valid input.
//!
//! `unsafe` stands in [`modules`] and [`sys`] only.

pub mod hist;
pub mod ids;
pub mod layout;
pub mod record;
pub mod ring;
pub mod seq;
pub(crate) mod sync;

#[cfg(not(loom))]
pub mod clock;
#[cfg(not(loom))]
pub mod map;
#[cfg(not(loom))]
pub mod modules;
#[cfg(not(loom))]
pub mod place;
#[cfg(not(loom))]
pub mod reader;
#[cfg(not(loom))]
pub mod request;
#[cfg(not(loom))]
pub mod session;
#[cfg(not(loom))]
pub mod sys;
#[cfg(not(loom))]
pub mod table;
