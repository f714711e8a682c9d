//! What a backend's answers are taken for.

use super::*;
use http::HeaderValue;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

fn http(status: u16, headers: &[(&'static str, &str)], body: &[u8]) -> Answer {
    let map = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect();
    // 1994-11-06 08:49:37, ten seconds before the date below.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    http_failure(Signal::Traces, "e".into(), StatusCode::from_u16(status).unwrap(), &map, body, false, now)
}

fn grpc(code: Code, delay: Option<(i64, i32)>) -> Answer {
    let details = delay.map(|(seconds, nanos)| {
        let info = RetryInfo { retry_delay: Some(RpcDuration { seconds, nanos }) };
        let value = info.encode_to_vec();
        let details = vec![
            RpcAny { type_url: "type.googleapis.com/google.rpc.DebugInfo".into(), value: vec![1] },
            RpcAny { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value },
        ];
        RpcStatus { code: code as i32, message: String::new(), details }.encode_to_vec()
    });
    grpc_failure(
        Signal::Traces,
        "e".into(),
        &Status::with_details(code, "why", details.unwrap_or_default().into()),
    )
}

/// `None`: final. `Some(hint)`: may be tried again.
fn hint(answer: Answer) -> Option<Option<Duration>> {
    match answer {
        Answer::Retry { after, .. } => Some(after),
        Answer::Refused(_) => None,
        other => panic!("a failure is no {other:?}"),
    }
}

#[test]
fn http_statuses_that_pass_are_tried_again() {
    let passing: Vec<u16> = (300..600).filter(|status| hint(http(*status, &[], b"")).is_some()).collect();
    assert_eq!(passing, [429, 502, 503, 504]);
}

#[test]
fn grpc_codes_that_pass_are_tried_again() {
    let passing = |delay| -> Vec<i32> {
        (1..17).filter(|code| hint(grpc(Code::from(*code), delay)).is_some()).collect()
    };
    // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS
    assert_eq!(passing(None), [1, 4, 10, 11, 14, 15]);
    // and RESOURCE_EXHAUSTED when the server says that it recovers
    assert_eq!(passing(Some((1, 0))), [1, 4, 8, 10, 11, 14, 15]);
    assert_eq!(passing(Some((0, 0))), [1, 4, 10, 11, 14, 15]);
}

#[test]
fn the_servers_delay_is_read_in_all_its_forms_and_bounded() {
    let after = |value| hint(http(503, &[("retry-after", value)], b"")).unwrap();
    assert_eq!(after("7"), Some(Duration::from_secs(7)));
    assert_eq!(after("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
    assert_eq!(after("Sun, 06 Nov 1994 08:49:17 GMT"), Some(Duration::ZERO));
    assert_eq!(after("soon"), None);
    assert_eq!(after("86400"), Some(LONGEST_HINT));

    let delay = |delay| hint(grpc(Code::Unavailable, Some(delay))).unwrap();
    assert_eq!(delay((2, 500_000_000)), Some(Duration::from_millis(2500)));
    assert_eq!(delay((i64::MAX, 0)), Some(LONGEST_HINT));
    assert_eq!(delay((-1, 0)), None);
}

#[test]
fn errors_carry_the_servers_words_and_what_to_do() {
    let status = RpcStatus { code: 3, message: "span id is zero".into(), details: vec![] }.encode_to_vec();
    let Answer::Refused(error) = http(400, &[("content-type", "application/x-protobuf")], &status) else {
        panic!("400 is final");
    };
    assert_eq!(
        error.to_string(),
        "cannot send spans to e: the server answered 400 Bad Request: span id is zero; see the backend's log for \
         what it did not like"
    );
    let Answer::Refused(error) = http(401, &[("content-type", "text/plain")], b"no\r\n\x1b[31mtoken\n")
    else {
        panic!("401 is final");
    };
    assert!(error.why.ends_with("no   [31mtoken"), "{}", error.why);
    assert!(error.fix.contains("OTEL_EXPORTER_OTLP_HEADERS"));
}

#[test]
fn partial_success_is_told_apart_from_success() {
    let answer = |rejected_spans, message: &str| {
        let error_message = message.to_owned();
        accepted(ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess { rejected_spans, error_message }),
        })
    };
    assert_eq!(answer(0, ""), Answer::Accepted);
    assert_eq!(answer(3, "late"), Answer::Partial { rejected: 3, message: "late".into() });
    assert_eq!(answer(0, "careful"), Answer::Partial { rejected: 0, message: "careful".into() });
    assert_eq!(answer(0, "\n"), Answer::Accepted);
    assert_eq!(answer(1, "\x1b[2Jno\n"), Answer::Partial { rejected: 1, message: "[2Jno".into() });
    let Answer::Partial { message, .. } = answer(1, &"x".repeat(4000)) else { panic!("it is partial") };
    assert_eq!(message.len(), 300);
    assert_eq!(accepted(ExportTraceServiceResponse { partial_success: None }), Answer::Accepted);
}
