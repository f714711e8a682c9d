//! Which traces are exported: decided once, at the root, and carried along.

/// The samplers that OpenTelemetry names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampler {
    parent_based: bool,
    /// Of roots: sampled if the trace id's low 63 bits lie below this bound.
    bound: u64,
}

const ALL: u64 = 1 << 63;

impl Sampler {
    const DEFAULT: Sampler = Sampler { parent_based: true, bound: ALL };

    /// `OTEL_TRACES_SAMPLER` and its argument; an unknown one is the default, with a warning.
    pub fn from_lookup(get: impl Fn(&str) -> Option<String>) -> (Sampler, Option<String>) {
        let Some(name) = get("OTEL_TRACES_SAMPLER") else { return (Sampler::DEFAULT, None) };
        let (parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name.as_str()),
        };
        let mut warning = None;
        let bound = match root {
            "always_on" => ALL,
            "always_off" => 0,
            "traceidratio" => {
                let text = get("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1.0".to_owned());
                let ratio = text.trim().parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                if ratio.is_none() {
                    warning = Some(format!(
                        "OTEL_TRACES_SAMPLER_ARG is {text:?}, not between 0 and 1: 1.0 is used"
                    ));
                }
                (ratio.unwrap_or(1.0) * ALL as f64) as u64
            }
            _ => {
                let warning =
                    format!("OTEL_TRACES_SAMPLER {name:?} is not known: parentbased_always_on is used");
                return (Sampler::DEFAULT, Some(warning));
            }
        };
        (Sampler { parent_based, bound }, warning)
    }

    /// Decides for a trace that begins here.
    pub fn root(&self, trace: u128) -> bool {
        (trace as u64) >> 1 < self.bound
    }

    /// Decides for a trace that comes from elsewhere.
    pub fn with_parent(&self, parent_sampled: bool, trace: u128) -> bool {
        if self.parent_based { parent_sampled } else { self.root(trace) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(name: &str, argument: &str) -> (Sampler, Option<String>) {
        Sampler::from_lookup(|variable| {
            Some(if variable == "OTEL_TRACES_SAMPLER" { name } else { argument }.to_owned())
        })
    }

    #[test]
    fn a_ratio_samples_its_share_of_roots() {
        let (sampler, warning) = sampler("traceidratio", "0.25");
        assert_eq!(warning, None);
        let traces = (0..10_000u64).map(|n| pollscope_wire::ids::otel_trace_id(7, n));
        let sampled = traces.filter(|trace| sampler.root(*trace)).count();
        assert!((2_300..2_700).contains(&sampled), "{sampled} of 10000");
    }

    #[test]
    fn a_parents_decision_is_kept_where_the_sampler_asks_for_it() {
        let (based, _) = sampler("parentbased_always_on", "");
        assert!(!based.with_parent(false, 1));
        assert!(based.root(u128::MAX));
        let (alone, _) = sampler("always_off", "");
        assert!(!alone.with_parent(true, 1));
    }

    #[test]
    fn an_unknown_sampler_falls_back_and_says_so() {
        let (fallback, warning) = sampler("jaeger_remote", "");
        assert_eq!(fallback, Sampler::DEFAULT);
        assert!(warning.unwrap().contains("jaeger_remote"));
    }
}
