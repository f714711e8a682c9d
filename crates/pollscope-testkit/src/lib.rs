//! Scripted services and expectations for tests.
