//! Without `tracing`, no server span is open around a request.

use super::context::Remote;
use crate::span::OpenSpan;

pub(super) enum Around {}
pub(super) type Inside<'a> = &'a Around;

impl Around {
    pub fn find(_: Option<&Remote>) -> Option<Around> {
        None
    }

    pub fn is_made(&self) -> bool {
        match *self {}
    }

    pub fn with(&self, _: impl FnOnce(&OpenSpan)) {
        match *self {}
    }

    pub fn enter(&self, _: bool) -> Inside<'_> {
        match *self {}
    }
}
