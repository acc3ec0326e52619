//! What a connection does with frames: order, limits, loss, and coming back.

use crate::support::{bare, config, dial, eventually, listen, node, pair, quick};
use quoin_link::{Event, FRAME_BYTES_MAX, Pins, Priority, Sent, TlsIdentity};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn an_urgent_frame_arrives_before_a_long_bulk_frame_sent_earlier() {
    let (one, mut two) = pair(quick()).await;
    let long = vec![9u8; FRAME_BYTES_MAX];
    assert_eq!(
        one.endpoint.send(&node(2), Priority::Bulk, long.clone()),
        Sent::Queued
    );
    assert_eq!(
        one.endpoint
            .send(&node(2), Priority::Normal, b"sign".to_vec()),
        Sent::Queued
    );
    assert_eq!(
        one.endpoint
            .send(&node(2), Priority::Urgent, b"cancel".to_vec()),
        Sent::Queued
    );
    two.expect(&node(1), Event::Frame(b"cancel".to_vec())).await;
    two.expect(&node(1), Event::Frame(b"sign".to_vec())).await;
    two.expect(&node(1), Event::Frame(long)).await;
}

#[tokio::test]
async fn frames_of_one_priority_keep_their_order() {
    let (one, mut two) = pair(quick()).await;
    for i in 0..500u32 {
        let body = i.to_be_bytes().to_vec();
        assert_eq!(
            one.endpoint.send(&node(2), Priority::Normal, body),
            Sent::Queued
        );
    }
    for i in 0..500u32 {
        two.expect(&node(1), Event::Frame(i.to_be_bytes().to_vec()))
            .await;
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_is_not_sent() {
    let (one, _two) = pair(quick()).await;
    let body = vec![0; FRAME_BYTES_MAX + 1];
    assert_eq!(
        one.endpoint.send(&node(2), Priority::Bulk, body),
        Sent::TooLong
    );
}

#[tokio::test]
async fn an_oversize_frame_closes_the_connection() {
    let (one, two) = (
        TlsIdentity::generate().unwrap(),
        TlsIdentity::generate().unwrap(),
    );
    let pins = Pins::new([(one.spki_hash(), node(1)), (two.spki_hash(), node(2))]).unwrap();
    let (mut served, at) = listen(config(node(2), &two, &pins, quick())).await;
    let client = bare::Client::with_key(&one.to_pkcs8());
    let mut stream = client.connect(at).await.unwrap();
    served.expect(&node(1), Event::Connected).await;
    stream.write_all(&[0x01, 0, 0, 1, 0]).await.unwrap();
    stream.flush().await.unwrap();
    served.expect(&node(1), Event::Disconnected).await;
    assert_eq!(served.endpoint.counters().malformed, 1);
}

#[tokio::test]
async fn a_dropped_connection_is_dialled_again() {
    let (one, two) = (
        TlsIdentity::generate().unwrap(),
        TlsIdentity::generate().unwrap(),
    );
    let pins = Pins::new([(one.spki_hash(), node(1)), (two.spki_hash(), node(2))]).unwrap();
    let (mut served, at) = listen(config(node(2), &two, &pins, quick())).await;
    let mut dialling = dial(config(node(1), &one, &pins, quick()), node(2), at);
    dialling.expect(&node(2), Event::Connected).await;
    served.expect(&node(1), Event::Connected).await;
    drop(served.received);
    served.endpoint.shutdown().await;
    dialling.expect(&node(2), Event::Disconnected).await;
    let body = b"lost".to_vec();
    assert_eq!(
        dialling.endpoint.send(&node(2), Priority::Normal, body),
        Sent::NotConnected
    );
    let listener = tokio::net::TcpListener::bind(at).await.unwrap();
    let again = config(node(2), &two, &pins, quick());
    let (_endpoint, mut received) = quoin_link::Endpoint::start(again, Some(listener)).unwrap();
    dialling.expect(&node(2), Event::Connected).await;
    assert_eq!(received.recv().await.unwrap().event, Event::Connected);
}

#[tokio::test]
async fn a_silent_peer_is_cut_off_at_the_idle_limit() {
    let (one, two) = (
        TlsIdentity::generate().unwrap(),
        TlsIdentity::generate().unwrap(),
    );
    let pins = Pins::new([(one.spki_hash(), node(1)), (two.spki_hash(), node(2))]).unwrap();
    let mut limits = quick();
    limits.idle = Duration::from_millis(200);
    let (mut served, at) = listen(config(node(2), &two, &pins, limits)).await;
    let client = bare::Client::with_key(&one.to_pkcs8());
    let _silent = client.connect(at).await.unwrap();
    served.expect(&node(1), Event::Connected).await;
    served.expect(&node(1), Event::Disconnected).await;
}

#[tokio::test]
async fn keep_alives_hold_an_idle_link_open() {
    let mut limits = quick();
    limits.idle = Duration::from_millis(400);
    limits.keepalive = Duration::from_millis(50);
    let (mut one, mut two) = pair(limits).await;
    one.expect_nothing(Duration::from_millis(1200)).await;
    two.expect_nothing(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_costs_drops_and_never_blocks_the_sender() {
    let mut limits = quick();
    limits.queue_bytes_max = FRAME_BYTES_MAX;
    limits.inbound_bytes_max = 1 << 20;
    let (one, mut two) = pair(limits).await;
    let mut queued = 0;
    for _ in 0..200 {
        if one
            .endpoint
            .send(&node(2), Priority::Bulk, vec![1; 1 << 20])
            == Sent::Queued
        {
            queued += 1;
        }
    }
    let dropped = one.endpoint.counters().dropped_bulk;
    assert_eq!(queued + dropped, 200);
    assert!(dropped > 0, "200 MiB do not fit");
    assert_eq!(
        one.endpoint
            .send(&node(2), Priority::Urgent, b"cancel".to_vec()),
        Sent::Queued
    );
    let mut cancelled = false;
    while !cancelled {
        cancelled = two.next().await.event == Event::Frame(b"cancel".to_vec());
    }
}

#[tokio::test]
async fn shutting_down_closes_both_sides() {
    let (one, mut two) = pair(quick()).await;
    drop(one.received);
    one.endpoint.shutdown().await;
    two.expect(&node(1), Event::Disconnected).await;
    let gone = || two.endpoint.connected().is_empty();
    eventually("the place is free", gone).await;
}
