//! Local roots: which are open, and how many tasks of each are spans. In private memory, by span slot.
//!
//! What is opened below a root that has ended begins a trace of its own and links back: a task that goes on for
//! hours must not stretch the trace of the request that started it.

use crate::task::Generations;
use pollscope_wire::ids;
use std::sync::atomic::Ordering;

/// The root in each slot, 0 when it has ended.
static OPEN: Generations = Generations::new();
/// Tasks that are spans below the root in each slot.
static TASKS: Generations = Generations::new();
/// Tasks below the span in each slot that are no spans: `generation:40 | count:24`.
static UNSPANNED: Generations = Generations::new();

const COUNT: u64 = (1 << 24) - 1;

fn has_slot(span: u64) -> bool {
    span != 0 && ids::slot_of(span) != ids::NO_SLOT
}

/// A root opens.
pub(super) fn open(root: u64) {
    if has_slot(root) {
        TASKS.cell(ids::slot_of(root)).store(0, Ordering::Relaxed);
        OPEN.cell(ids::slot_of(root)).store(root, Ordering::Relaxed);
    }
}

/// It ends.
pub(super) fn close(root: u64) {
    if has_slot(root) {
        OPEN.cell(ids::slot_of(root)).store(0, Ordering::Relaxed);
    }
}

/// Whether it is open, as far as is known.
#[inline]
pub(super) fn is_open(root: u64) -> bool {
    !has_slot(root) || OPEN.cell(ids::slot_of(root)).load(Ordering::Relaxed) == root
}

/// Takes room for one more task that is a span below a root.
pub(crate) fn admit_task(root: u64, most: u32) -> bool {
    !has_slot(root) || TASKS.cell(ids::slot_of(root)).fetch_add(1, Ordering::Relaxed) < most as u64
}

/// Counts a task that is no span, on the span that it would be a child of.
pub(crate) fn count_unspanned(parent: u64) {
    if !has_slot(parent) {
        return;
    }
    let cell = UNSPANNED.cell(ids::slot_of(parent));
    let (of, old) = (parent << 24 & !COUNT, cell.load(Ordering::Relaxed));
    let count = if old & !COUNT == of { (old & COUNT) + 1 } else { 1 };
    cell.store(of | count.min(COUNT), Ordering::Relaxed);
}

/// Tasks below a span that are no spans.
pub(super) fn unspanned(span: u64) -> u64 {
    if !has_slot(span) {
        return 0;
    }
    let word = UNSPANNED.cell(ids::slot_of(span)).load(Ordering::Relaxed);
    if word & !COUNT == span << 24 & !COUNT { word & COUNT } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slots_next_root_begins_anew() {
        let (first, next) = (ids::id(1, 99), ids::id(2, 99));
        open(first);
        assert!(is_open(first) && !is_open(next));
        assert_eq!((0..5).filter(|_| admit_task(first, 3)).count(), 3);
        close(first);
        assert!(!is_open(first));
        open(next);
        assert!(is_open(next) && !is_open(first) && admit_task(next, 1));
    }

    #[test]
    fn tasks_that_are_no_spans_count_for_the_span_that_has_the_slot() {
        let (first, next) = (ids::id(1, 98), ids::id(2, 98));
        (0..3).for_each(|_| count_unspanned(first));
        assert_eq!((unspanned(first), unspanned(next)), (3, 0));
        count_unspanned(next);
        assert_eq!((unspanned(first), unspanned(next)), (0, 1));
    }

    #[test]
    fn of_spans_without_a_slot_nothing_is_known() {
        let none = ids::id(5, ids::NO_SLOT);
        open(none);
        close(none);
        assert!(is_open(none) && is_open(0) && admit_task(none, 0));
        assert_eq!(unspanned(none), 0);
    }
}
