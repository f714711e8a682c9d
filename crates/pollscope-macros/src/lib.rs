//! The attribute macros of pollscope: main and instrument.
