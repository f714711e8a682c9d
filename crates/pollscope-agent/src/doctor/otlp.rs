//! Whether a service exports traces itself that are not joined with what pollscope records of it.
//!
//! Nobody says so in the session: a service that links an OTLP exporter and an OpenTelemetry layer for `tracing` has
//! both named in the constants of its executable, as the exporter's variable and as the paths of the layer's sources.
//! Where the ids of that layer are read, spans carry them. So both in the executable, spans in the session, and none
//! under ids of the layer's, is what a missing feature, or a layer in the wrong order, looks like.

use super::{Check, Level, check};
use pollscope_model::text::clean;
use std::path::Path;

/// The exporter's constant, whichever settings it is made with.
const EXPORTER: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// In the paths that its panics name.
const LAYER: &str = "/tracing-opentelemetry-0.";

const JOIN: &str = "\
    build the service with pollscope's feature tracing-opentelemetry-0_34 (or -0_33; any other version: \
    pollscope::layer().with_context(..)), and add pollscope::layer() before the OpenTelemetry layer; \
    or say POLLSCOPE_SPANS=export if its own exporter is to go";

/// What is wrong, if it is; `bound`: some span has ids that are not ours, `any`: there are spans at all.
pub fn unjoined(service: &str, exe: &Path, any: bool, bound: bool) -> Option<Check> {
    if !any || bound {
        return None;
    }
    let constants = constants(exe)?;
    let version = layer(&constants)?;
    let text = format!(
        "{service}: it can export OTLP itself (tracing-opentelemetry {}), and no ids of that could be read: its traces and pollscope's are not joined",
        clean(&version)
    );
    Some(check(Level::Warn, text, Some(JOIN)))
}

/// The version of the layer in an executable that has an exporter too.
fn layer(constants: &[u8]) -> Option<String> {
    find(constants, EXPORTER.as_bytes())?;
    let at = find(constants, LAYER.as_bytes())? + LAYER.len() - "0.".len();
    let version = constants[at..].iter().take(16).take_while(|byte| byte.is_ascii_digit() || **byte == b'.');
    Some(version.map(|byte| *byte as char).collect())
}

fn find(within: &[u8], text: &[u8]) -> Option<usize> {
    within.windows(text.len()).position(|window| window == text)
}

/// Its read-only data. `None`: the file is gone, or is none that this machine could run.
fn constants(exe: &Path) -> Option<Vec<u8>> {
    use object::{Object, ObjectSection};
    let cache = object::ReadCache::new(std::fs::File::open(exe).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let sections = [".rodata", "__const", "__cstring"].into_iter();
    let of = sections.filter_map(|name| file.section_by_name(name)?.data().ok().map(<[u8]>::to_vec));
    Some(of.collect::<Vec<_>>().concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_needs_both_an_exporter_and_a_layer() {
        let path = "../registry/src/x/tracing-opentelemetry-0.34.1/src/layer.rs";
        let with = |parts: &[&str]| layer(parts.concat().as_bytes());
        assert_eq!(with(&["a", EXPORTER, "b", path]).as_deref(), Some("0.34.1"));
        assert_eq!(with(&[EXPORTER]), None);
        assert_eq!(with(&[path]), None);
        assert_eq!(with(&[path, EXPORTER]).as_deref(), Some("0.34.1"));
    }

    #[test]
    fn this_executable_is_read_and_joined_or_silent_services_are_let_alone() {
        let own = std::env::current_exe().unwrap();
        let constants = constants(&own).unwrap();
        assert!(find(&constants, b"pollscope::layer().with_context(..)").is_some());
        // It links an exporter for the agent's own spans, and no layer.
        assert!(find(&constants, EXPORTER.as_bytes()).is_some());
        assert!(
            unjoined("till", &own, false, false).is_none() && unjoined("till", &own, true, true).is_none()
        );
    }
}
