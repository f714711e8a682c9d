//! Settings from variables, flags and the file.

use super::*;

fn env(variables: &[(&str, &str)]) -> Result<Options, ConfigError> {
    let known: BTreeMap<String, String> =
        variables.iter().map(|(key, value)| (format!("OTEL_{key}"), (*value).to_owned())).collect();
    Options::from_env(Signal::Traces, |name| known.get(name).cloned())
}

fn resolved(variables: &[(&str, &str)]) -> Config {
    env(variables).unwrap().resolve(Signal::Traces).unwrap().expect("export is on")
}

fn refused(variables: &[(&str, &str)]) -> String {
    env(variables).and_then(|options| options.resolve(Signal::Traces)).unwrap_err().to_string()
}

#[test]
fn without_any_variable_it_is_the_local_http_backend() {
    let config = resolved(&[]);
    assert_eq!(config.endpoint, "http://localhost:4318/v1/traces");
    assert_eq!(config.protocol, Protocol::HttpProtobuf);
    assert_eq!((config.timeout, config.compression), (Duration::from_secs(10), Compression::None));
    assert!(!config.endpoint_given);
}

#[test]
fn endpoints_follow_the_protocol() {
    let endpoint = |variables: &[(&str, &str)]| resolved(variables).endpoint.to_string();
    let base = "EXPORTER_OTLP_ENDPOINT";
    let whole = "EXPORTER_OTLP_TRACES_ENDPOINT";
    let grpc = ("EXPORTER_OTLP_PROTOCOL", "grpc");
    assert_eq!(endpoint(&[(base, "http://c:1")]), "http://c:1/v1/traces");
    assert_eq!(endpoint(&[(base, "http://c:1/")]), "http://c:1/v1/traces");
    assert_eq!(endpoint(&[(base, "https://c/otlp/")]), "https://c/otlp/v1/traces");
    assert_eq!(endpoint(&[(base, "http://c:1"), (whole, "http://t:2/mine")]), "http://t:2/mine");
    assert_eq!(endpoint(&[(whole, "http://t:2")]), "http://t:2/");
    assert_eq!(endpoint(&[grpc]), "http://localhost:4317/");
    assert_eq!(endpoint(&[grpc, (base, "http://c:1/ignored")]), "http://c:1/");
    assert_eq!(endpoint(&[grpc, (base, "c:1")]), "https://c:1/");
    assert_eq!(endpoint(&[grpc, (base, "c:1"), ("EXPORTER_OTLP_INSECURE", "TRUE")]), "http://c:1/");
    assert_eq!(endpoint(&[grpc, (base, "https://c:1"), ("EXPORTER_OTLP_INSECURE", "true")]), "https://c:1/");
}

#[test]
fn the_traces_form_of_a_variable_wins_and_empty_is_unset() {
    let config = resolved(&[
        ("EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("EXPORTER_OTLP_TIMEOUT", "1000"),
        ("EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
        ("EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("EXPORTER_OTLP_TRACES_COMPRESSION", ""),
        ("EXPORTER_OTLP_HEADERS", "a=1,b=2"),
        ("EXPORTER_OTLP_TRACES_HEADERS", "c=3"),
    ]);
    assert_eq!(config.protocol, Protocol::HttpProtobuf);
    assert_eq!(config.timeout, Duration::from_millis(250));
    assert_eq!(config.compression, Compression::Gzip);
    assert_eq!(config.headers.keys().map(|key| key.as_str()).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn no_request_takes_longer_than_an_hour() {
    let timeout = |milliseconds| resolved(&[("EXPORTER_OTLP_TIMEOUT", milliseconds)]).timeout;
    assert_eq!(timeout("3600000"), LONGEST_TIMEOUT);
    assert_eq!(timeout("18446744073709551615"), LONGEST_TIMEOUT);
}

#[test]
fn header_values_are_percent_decoded_and_never_shown() {
    let config = resolved(&[(
        "EXPORTER_OTLP_HEADERS",
        " Authorization = Basic%20c2VjcmV0 ,x=a%2Cb%3Dc, broken=50%,eq=a=b,none=,",
    )]);
    assert_eq!(config.headers["authorization"], "Basic c2VjcmV0");
    assert_eq!(config.headers["x"], "a,b=c");
    assert_eq!(config.headers["broken"], "50%");
    assert_eq!(config.headers["eq"], "a=b");
    assert!(!config.headers.contains_key("none"));
    assert!(!format!("{config:?}").contains("c2VjcmV0"));
    let options = env(&[("EXPORTER_OTLP_HEADERS", "Authorization=c2VjcmV0")]).unwrap();
    assert!(!format!("{options:?}").contains("c2VjcmV0"));
}

#[test]
fn export_is_switched_off_by_the_standard_variables() {
    assert_eq!(env(&[("SDK_DISABLED", "True")]).unwrap().resolve(Signal::Traces), Ok(None));
    assert_eq!(env(&[("TRACES_EXPORTER", "none")]).unwrap().resolve(Signal::Traces), Ok(None));
    resolved(&[("SDK_DISABLED", "false"), ("TRACES_EXPORTER", "otlp")]);
}

#[test]
fn a_flag_wins_over_env_and_env_over_file() {
    let flags = Options { endpoint: Some("http://flag:1".into()), ..Options::default() };
    let variables = env(&[
        ("EXPORTER_OTLP_TRACES_ENDPOINT", "http://env:1/whole"),
        ("EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("TRACES_EXPORTER", "none"),
    ])
    .unwrap();
    let file = Options {
        compression: Some(Compression::None),
        timeout_ms: Some(77),
        endpoint: Some("http://file:1".into()),
        ..Options::default()
    };
    let both = variables.over(file);
    assert_eq!(both.clone().resolve(Signal::Traces), Ok(None), "nothing named above `none` turns export on");
    let config =
        flags.over(both).resolve(Signal::Traces).unwrap().expect("an endpoint by flag turns export on");
    assert_eq!(config.endpoint, "http://flag:1/v1/traces");
    assert_eq!((config.compression, config.timeout), (Compression::Gzip, Duration::from_millis(77)));
}

#[test]
fn what_cannot_be_used_says_why_and_what_to_do() {
    assert_eq!(
        refused(&[("EXPORTER_OTLP_PROTOCOL", "http/json")]),
        "cannot use OTLP protocol `http/json` from OTEL_EXPORTER_OTLP_PROTOCOL: pollscope sends protobuf only; \
         use `http/protobuf` (same port, same path) or `grpc`"
    );
    assert_eq!(
        refused(&[("EXPORTER_OTLP_ENDPOINT", "localhost:4318")]),
        "cannot use OTLP endpoint `localhost:4318`: it has no scheme; write `http://localhost:4318` or \
         `https://localhost:4318`"
    );
    assert!(refused(&[("EXPORTER_OTLP_ENDPOINT", "ftp://x")]).contains("neither http nor https"));
    assert!(refused(&[("EXPORTER_OTLP_ENDPOINT", "http://")]).contains("cannot use OTLP endpoint `http://`"));
    for (url, port) in
        [("http://c:99999", "99999"), ("https://u:p@c:0/x", "0"), ("http://[::1]:70000", "70000")]
    {
        let said = refused(&[("EXPORTER_OTLP_ENDPOINT", url)]);
        assert!(said.contains(url) && said.contains(&format!("`{port}` is no port")), "{said}");
    }
    for url in ["http://c:65535/", "https://u:p@c/", "http://[::1]/", "http://[::1]:1/"] {
        resolved(&[("EXPORTER_OTLP_TRACES_ENDPOINT", url)]);
    }
    assert!(refused(&[("EXPORTER_OTLP_TIMEOUT", "10s")]).contains("OTEL_EXPORTER_OTLP_TIMEOUT=10s"));
    assert!(refused(&[("EXPORTER_OTLP_TIMEOUT", "0")]).contains("timeout 0"));
    assert!(refused(&[("EXPORTER_OTLP_COMPRESSION", "zstd")]).contains("use `gzip` or `none`"));
    assert!(refused(&[("EXPORTER_OTLP_HEADERS", "a=1,b")]).contains("entry 2 of the OTLP headers"));
    assert!(refused(&[("EXPORTER_OTLP_HEADERS", "a=x%0Ay")]).contains("OTLP header `a`: its value"));
    assert!(
        refused(&[("EXPORTER_OTLP_CLIENT_KEY", "k.pem")]).contains("client certificate that belongs to it")
    );
}

#[test]
fn the_same_options_stand_in_a_file() {
    let file: Options = toml::from_str(
        r#"
        endpoint = "https://collector:4317"
        protocol = "grpc"
        compression = "gzip"
        timeout_ms = 3000
        certificate = "/etc/ca.pem"
        headers = { "x-tenant" = "shop" }
        "#,
    )
    .unwrap();
    let config = file.resolve(Signal::Traces).unwrap().unwrap();
    assert_eq!((config.protocol, config.compression), (Protocol::Grpc, Compression::Gzip));
    assert_eq!(config.endpoint, "https://collector:4317/");
    assert_eq!(config.headers["x-tenant"], "shop");
    assert_eq!(config.authority.as_deref(), Some(std::path::Path::new("/etc/ca.pem")));

    let refused = |text: &str| toml::from_str::<Options>(text).unwrap_err().to_string();
    assert!(refused("protocol = \"http/json\"").contains("pollscope sends protobuf only"));
    assert!(refused("endpiont = \"http://x\"").contains("unknown field `endpiont`"));
}

/// The configuration of log records that these variables give.
fn for_logs(variables: &[(&str, &str)]) -> Option<Config> {
    let known: BTreeMap<String, &str> =
        variables.iter().map(|(key, value)| (format!("OTEL_{key}"), *value)).collect();
    let lookup = |name: &str| known.get(name).map(|value| (*value).to_owned());
    Options::from_env(Signal::Logs, lookup).unwrap().resolve(Signal::Logs).unwrap()
}

#[test]
fn log_records_have_variables_of_their_own_over_the_general_ones() {
    let config = for_logs(&[("EXPORTER_OTLP_ENDPOINT", "http://all:4318")]).unwrap();
    assert_eq!(
        (config.signal, config.endpoint.to_string()),
        (Signal::Logs, "http://all:4318/v1/logs".into())
    );
    let config = for_logs(&[
        ("EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
        ("EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/t"),
        ("EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:4318/l"),
        ("EXPORTER_OTLP_HEADERS", "a=1"),
        ("EXPORTER_OTLP_LOGS_HEADERS", "b=2"),
        ("EXPORTER_OTLP_LOGS_TIMEOUT", "50"),
        ("EXPORTER_OTLP_LOGS_COMPRESSION", "gzip"),
        ("EXPORTER_OTLP_LOGS_CERTIFICATE", "/ca.pem"),
    ])
    .unwrap();
    assert_eq!(config.endpoint.to_string(), "http://logs:4318/l");
    assert_eq!(config.headers.keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!((config.timeout.as_millis(), config.compression), (50, Compression::Gzip));
    assert_eq!(config.authority, Some("/ca.pem".into()));
    let config = for_logs(&[
        ("EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
        ("EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:4317"),
    ]);
    assert_eq!(config.unwrap().protocol, Protocol::Grpc);
}

#[test]
fn the_exporter_of_one_signal_is_switched_off_alone() {
    assert_eq!(for_logs(&[("LOGS_EXPORTER", "none")]), None);
    assert_eq!(for_logs(&[("SDK_DISABLED", "true")]), None);
    assert!(for_logs(&[("TRACES_EXPORTER", "none")]).is_some());
    resolved(&[("LOGS_EXPORTER", "none")]);
}
