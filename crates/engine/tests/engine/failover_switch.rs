//! A switch with real sites: what is confirmed, and what is known afterwards.

use transship_engine::failover::Phase;

use crate::failover_stage::{Stage, entry};

/// Half of the secondary servers are down.
#[tokio::test]
async fn a_switch_names_the_servers_that_do_not_answer_and_waits_for_those_that_do() {
    let stage = Stage::ready().await;
    // ns2 serves the old record, ns3 is down.
    *stage.zone.others.lock().unwrap() = vec![Some(entry("127.0.0.1", 0, "a")), None];
    let error = stage.lead(Some("b")).await.unwrap_err();
    assert_eq!(error.code(), "DNS_NOT_SETTLED", "{error}");
    assert!(error.to_string().contains("ns2 answers"), "{error}");

    *stage.zone.others.lock().unwrap() = vec![Some(entry("127.0.0.2", 1, "b")), None];
    let switched = stage.lead(Some("b")).await.unwrap();
    assert_eq!(
        (switched.state.phase, switched.state.writer.as_str()),
        (Phase::Reversed, "b")
    );
    let operation = switched.state.operation.unwrap();
    let silent = &operation.zones["public"].silent;
    assert_eq!(silent.len(), 1, "{silent:?}");
    assert!(silent[0].starts_with("ns3: "), "{silent:?}");
}
