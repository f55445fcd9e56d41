//! What a name server may answer to an update that changes nothing, and what that says about its right.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use transship_copy::SystemClock;
use transship_dns::DynamicUpdates;
use transship_engine::Secrets;
use transship_engine::names::{Entry, Names, expect_allowed};
use transship_oci::{Code, Result};
use transship_rules::{Hostname, SecretReference, ServerAddress};
use transship_testkit::name_server::TSIG_KEY;

struct Key;

#[async_trait]
impl Secrets for Key {
    async fn secret(&self, _: &SecretReference) -> Result<SecretString> {
        Ok(TSIG_KEY.to_owned().into())
    }

    async fn secret_anew(&self, _: &SecretReference, _: Duration) -> Result<Option<SecretString>> {
        Ok(Some(TSIG_KEY.to_owned().into()))
    }
}

/// A server that answers everything with `code`, without a signature. Source: RFC 1035, section 4.1.1.
async fn answering(code: u8) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut request = vec![0; usize::from(length)];
            stream.read_exact(&mut request).await.unwrap();
            let header = [request[0], request[1], request[2] | 0x80, code];
            let answer = [&[0, 12], &header[..], &[0; 8]].concat();
            stream.write_all(&answer).await.unwrap();
        }
    });
    port
}

#[tokio::test]
async fn an_update_without_updates_that_a_server_does_not_understand_says_nothing_about_its_right() {
    let name: Hostname = "images.example.com".parse().unwrap();
    for ((code, number), refusal, change) in [
        (("FORMERR", 1), None, Code::DnsRefused),
        (("SERVFAIL", 2), None, Code::DnsUnavailable),
        (("NOTIMP", 4), Some(Code::DnsRefused), Code::DnsRefused),
        (("REFUSED", 5), Some(Code::DnsRefused), Code::DnsRefused),
        (("YXRRSET", 7), Some(Code::DnsRecordChanged), Code::DnsRecordChanged),
        (("NXRRSET", 8), Some(Code::DnsRecordChanged), Code::DnsRecordChanged),
        (("NOTAUTH", 9), Some(Code::DnsZoneInvalid), Code::DnsZoneInvalid),
        (("NOTZONE", 10), Some(Code::DnsZoneInvalid), Code::DnsZoneInvalid),
    ] {
        let server = ServerAddress {
            host: "127.0.0.1".to_owned(),
            port: answering(number).await,
        };
        let reference = "env:TSIG".parse().unwrap();
        let zone = "example.com".parse().unwrap();
        let names = DynamicUpdates::new(vec![server], zone, reference, Arc::new(Key), Arc::new(SystemClock));
        let allowed = expect_allowed(&names, &name, &Entry::default()).await;
        assert_eq!(allowed.err().map(|error| error.kind()), refusal, "{code}");
        let error = names
            .swap(&name, &Entry::default(), &Entry::default())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), change, "{code}");
    }
}
