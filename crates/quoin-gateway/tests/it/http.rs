//! The JSON face: what it accepts, what it refuses, and in which words.

use crate::live::{start, start_with};
use crate::world::{KEY, caller, stamp_of, text};
use quoin_api::http::{ErrorBody, OutcomeBody, ReadyBody, RequestBody};
use quoin_core::{Class, Payload, RequestId, Signed, cbor};
use reqwest::{Client, RequestBuilder, StatusCode};

fn request(id: u8, words: &str) -> RequestBody {
    body_of(id, &text(words))
}

fn body_of(id: u8, payload: &Payload) -> RequestBody {
    RequestBody {
        stamp: hex::encode(Signed::sign(stamp_of(payload, id, Some(KEY)), &caller()).to_bytes()),
        payload: hex::encode(cbor::encode(payload)),
    }
}

async fn refusal(request: RequestBuilder) -> (u16, ErrorBody) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

#[tokio::test]
async fn a_request_is_signed_and_found_again() {
    let base = start(vec![]).await;
    let client = Client::new();
    let url = format!("http://{base}/v1/requests");
    let response = client.post(&url).json(&request(1, "hello")).send().await;
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let first: OutcomeBody = response.json().await.unwrap();
    let OutcomeBody::Signed {
        request_id,
        receipt,
        ..
    } = &first
    else {
        panic!("{first:?}");
    };
    assert_eq!((*request_id, receipt.len()), (RequestId([1; 16]), 1));
    let again = client
        .post(&url)
        .json(&request(1, "hello"))
        .send()
        .await
        .unwrap();
    assert_eq!(again.json::<OutcomeBody>().await.unwrap(), first);
    let found = client
        .get(format!("{url}/{}", "01".repeat(16)))
        .send()
        .await
        .unwrap();
    assert_eq!(found.json::<OutcomeBody>().await.unwrap(), first);
    let (status, error) = refusal(client.post(&url).json(&request(1, "goodbye"))).await;
    assert_eq!((status, error.error.class), (409, Class::Conflict));
    let (status, _) = refusal(client.get(format!("{url}/{}", "02".repeat(16)))).await;
    assert_eq!(status, 404);
    let (status, error) = refusal(client.get(format!("{url}/02"))).await;
    assert_eq!((status, &*error.error.field), (400, "id"));
}

#[tokio::test]
async fn only_the_exact_hosts_are_served() {
    let base = start(vec![]).await;
    let port = base.split(':').next_back().unwrap();
    let client = Client::new();
    let url = format!("http://{base}/healthz");
    for good in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        "gateway.test:80".into(),
    ] {
        let response = client.get(&url).header("host", &good).send().await.unwrap();
        assert_eq!(response.status(), 200, "{good}");
    }
    for bad in [
        "evil.test".into(),
        "localhost".into(),
        format!("evil.test:{port}"),
        format!("localhost.evil.test:{port}"),
        format!("127.0.0.1:{port}.evil.test"),
    ] {
        let (status, error) = refusal(client.get(&url).header("host", &bad)).await;
        assert_eq!((status, &*error.error.field), (403, "host"), "{bad}");
    }
}

#[tokio::test]
async fn a_foreign_origin_is_refused_on_every_path() {
    let base = start(vec![]).await;
    let client = Client::new();
    for path in ["healthz", "v1/keys", "metrics", "rpc/x", "nothing"] {
        let url = format!("http://{base}/{path}");
        for bad in ["http://evil.test", "null", "https://localhost", "file://"] {
            let (status, error) = refusal(client.get(&url).header("origin", bad)).await;
            assert_eq!(
                (status, &*error.error.field),
                (403, "origin"),
                "{path} {bad}"
            );
        }
    }
    let own = format!("http://{base}");
    let url = format!("http://{base}/healthz");
    let response = client.get(url).header("origin", own).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn bodies_are_json_short_and_without_unknown_fields() {
    let base = start(vec![]).await;
    let client = Client::new();
    let post = |path: &str| client.post(format!("http://{base}/v1/{path}"));
    let good = serde_json::to_string(&request(1, "hello")).unwrap();
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
    ] {
        let sent = post("requests")
            .header("content-type", kind)
            .body(good.clone());
        assert_eq!(refusal(sent).await.0, 415, "{kind}");
    }
    let (status, _) = refusal(post("requests").body(good.clone())).await;
    assert_eq!(status, 415, "no content type");
    let json = |path: &str, body: String| {
        post(path)
            .header("content-type", "application/json")
            .body(body)
    };
    let (status, error) =
        refusal(json("requests", format!("\"{}\"", "a".repeat(512 * 1024)))).await;
    assert_eq!((status, &*error.error.field), (413, "body"));
    let unknown = good.replacen('{', "{\"urgent\":true,", 1);
    let (status, error) = refusal(json("requests", unknown)).await;
    assert_eq!(status, 400);
    assert!(error.error.message.contains("urgent"), "{error:?}");
    for (path, body, field) in [
        ("requests", r#"{"stamp":"zz","payload":""}"#, "stamp"),
        ("requests", r#"{"stamp":"AB","payload":""}"#, "stamp"),
        ("requests", r#"{"stamp":"","payload":""}"#, "stamp"),
        ("approvals", r#"{"approval":"xx"}"#, "approval"),
        ("approvals", r#"{"approval":"","more":1}"#, "body"),
        ("charter", r#"{"charter":"00"}"#, "charter"),
        ("charter", "[", "body"),
    ] {
        let (status, error) = refusal(json(path, body.into())).await;
        assert_eq!((status, &*error.error.field), (400, field), "{path} {body}");
        assert_eq!(error.error.class, Class::Caller);
    }
    assert_eq!(
        refusal(client.get(format!("http://{base}/nothing")))
            .await
            .0,
        404
    );
    assert_eq!(
        refusal(client.delete(format!("http://{base}/v1/keys")))
            .await
            .0,
        405
    );
}

#[tokio::test]
async fn a_stamp_for_another_payload_is_the_callers_fault() {
    let base = start(vec![]).await;
    let mut body = request(1, "hello");
    body.payload = request(1, "goodbye").payload;
    let sent = Client::new()
        .post(format!("http://{base}/v1/requests"))
        .json(&body);
    let (status, error) = refusal(sent).await;
    assert_eq!((status, &*error.error.field), (400, "stamp.payload_hash"));
}

#[tokio::test]
async fn readiness_and_metrics_tell_the_state() {
    let base = start(vec![]).await;
    let client = Client::new();
    let ready = client
        .get(format!("http://{base}/readyz"))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 200);
    let url = format!("http://{base}/v1/requests");
    client
        .post(&url)
        .json(&request(1, "hello"))
        .send()
        .await
        .unwrap();
    let metrics = client
        .get(format!("http://{base}/metrics"))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        "quoin_gateway_nodes_up 3",
        "quoin_gateway_requests_total{outcome=\"signed\"} 1",
        "quoin_gateway_signature_seconds_count{scheme=\"ecdsa\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let cluster = client
        .get(format!("http://{base}/v1/cluster"))
        .send()
        .await
        .unwrap();
    assert!(cluster.text().await.unwrap().contains("\"words\":\""));

    let lonely = start_with(vec![], &[]).await;
    let ready = client
        .get(format!("http://{lonely}/readyz"))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), 503);
    let body: ReadyBody = ready.json().await.unwrap();
    assert!(
        !body.ready && body.reasons[0].contains("1, 2, 3"),
        "{body:?}"
    );
}

#[tokio::test]
async fn the_openapi_document_names_every_path_that_is_served() {
    let base = start(vec![]).await;
    let client = Client::new();
    let text = client
        .get(format!("http://{base}/openapi.json"))
        .send()
        .await
        .unwrap();
    let document: serde_json::Value = text.json().await.unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method = method.to_uppercase().parse().unwrap();
            let url = format!("http://{base}{}", path.replace("{id}", "x"));
            let response = client.request(method, url).send().await.unwrap();
            assert!(!matches!(response.status().as_u16(), 404 | 405), "{path}");
        }
    }
}
