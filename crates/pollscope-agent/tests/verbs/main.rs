//! The verbs, each run as a user would, against sessions of real services.

mod agent;
mod dead;
mod doctor;
mod recorded;
mod run;
mod service;
mod sessions;
mod settings;
mod support;
mod tasks;
mod traces;
