//! Signed tokens of Google and Microsoft Entra.

use std::sync::Arc;

use serde_json::{Value, json};
use transship_notifications::{Authenticity, Delivery, EntraCloud, Expected, Identity, Part, authenticate};
use transship_oci::Error;
use transship_testkit::mutation::fuzz;
use transship_testkit::signing::Signer;

use crate::{headers_of, named, with};

const KID: &str = "key-1";
const TENANT: &str = "00000000-0000-0000-0000-000000000001";
/// The application of Event Grid in the public cloud.
const EVENT_GRID: &str = "4962773b-9cdb-44cf-a8bf-237846a00ab7";
/// 2026-03-14T09:26:53Z
const NOW: i64 = 1_773_480_413;

fn google() -> Identity {
    Identity::Google {
        audience: "https://hooks.example.com/hooks/gar".to_owned(),
        email: "pusher@example.iam.gserviceaccount.com".to_owned(),
    }
}

fn entra() -> Identity {
    Identity::Entra {
        audience: "api://transship".to_owned(),
        tenant: TENANT.to_owned(),
        application: EVENT_GRID.to_owned(),
        cloud: EntraCloud::Public,
    }
}

fn claims_of(identity: &Identity) -> Value {
    match identity {
        Identity::Google { audience, email } => json!({
            "iss": "https://accounts.google.com", "aud": audience, "email": email, "email_verified": true, "iat": NOW - 10,
            "exp": NOW + 3590, "sub": "1",
        }),
        Identity::Entra {
            audience,
            tenant,
            application,
            ..
        } => json!({
            "iss": format!("https://sts.windows.net/{tenant}/"), "aud": audience, "tid": tenant, "appid": application,
            "nbf": NOW - 10, "exp": NOW + 3590,
        }),
    }
}

/// Checks a delivery with this value of `Authorization`.
fn check(
    identity: &Identity,
    authorization: &[&str],
    keys: Option<&str>,
    fetched: Option<&str>,
) -> Result<Authenticity, Error> {
    let headers: Vec<(&str, &str)> = authorization.iter().map(|value| ("authorization", *value)).collect();
    let delivery = Delivery {
        headers: &headers_of(&headers),
        body: b"",
        token: None,
    };
    let expected = Expected {
        identity: Some(identity),
        keys,
        now: jiff::Timestamp::from_second(NOW).unwrap(),
        ..Expected::default()
    };
    let fetched = |url: &str| {
        assert_eq!(url, identity.keys_url());
        fetched.map(|keys| Arc::from(keys.as_bytes()))
    };
    authenticate(named("google-ar"), &delivery, Part::Head, &expected, &fetched)
}

fn checked(identity: &Identity, token: &str) -> Result<Authenticity, Error> {
    let set = Signer::new().unwrap().key_set(KID);
    check(identity, &[&format!("Bearer {token}")], Some(&set), None)
}

#[test]
fn the_token_of_the_expected_sender_is_authentic() {
    let signer = Signer::new().unwrap();
    for identity in [google(), entra()] {
        let token = signer.token(KID, &claims_of(&identity)).unwrap();
        assert_eq!(checked(&identity, &token).unwrap(), Authenticity::Proven);
        let bearer = format!("bearer {token}");
        let set = signer.key_set(KID);
        assert_eq!(
            check(&identity, &[&bearer], None, Some(&set)).unwrap(),
            Authenticity::Proven
        );
    }
    for claims in [
        json!({ "aud": ["other", "https://hooks.example.com/hooks/gar"] }),
        json!({ "iss": "accounts.google.com" }),
        json!({ "exp": NOW - 59 }),
        json!({ "nbf": NOW + 60 }),
    ] {
        let token = signer.token(KID, &with(claims_of(&google()), claims.clone())).unwrap();
        assert_eq!(checked(&google(), &token).unwrap(), Authenticity::Proven, "{claims}");
    }
    let version_2 = json!({
        "iss": format!("https://login.microsoftonline.com/{TENANT}/v2.0"), "appid": null, "azp": EVENT_GRID,
    });
    let token = signer.token(KID, &with(claims_of(&entra()), version_2)).unwrap();
    assert_eq!(checked(&entra(), &token).unwrap(), Authenticity::Proven);
}

#[test]
fn each_cloud_has_its_own_keys_and_issuers() {
    let signer = Signer::new().unwrap();
    let hosts = [
        (EntraCloud::Public, "login.microsoftonline.com", "sts.windows.net"),
        (EntraCloud::UsGovernment, "login.microsoftonline.us", "sts.windows.net"),
        (
            EntraCloud::China,
            "login.partner.microsoftonline.cn",
            "sts.chinacloudapi.cn",
        ),
    ];
    let issuers = |login: &str, service: &str| {
        [
            format!("https://{login}/{TENANT}/v2.0"),
            format!("https://{service}/{TENANT}/"),
        ]
    };
    for (cloud, login, service) in hosts {
        let Identity::Entra {
            audience,
            tenant,
            application,
            ..
        } = entra()
        else {
            unreachable!()
        };
        let identity = Identity::Entra {
            audience,
            tenant,
            application,
            cloud,
        };
        assert_eq!(
            identity.keys_url(),
            format!("https://{login}/{TENANT}/discovery/v2.0/keys")
        );
        let own = issuers(login, service);
        for (_, login, service) in hosts {
            for issuer in issuers(login, service) {
                let claims = with(claims_of(&identity), json!({ "iss": issuer }));
                let checked = checked(&identity, &signer.token(KID, &claims).unwrap());
                assert_eq!(checked.is_ok(), own.contains(&issuer), "{cloud:?} {issuer}");
            }
        }
    }
}

#[test]
fn a_token_for_another_purpose_is_not_authentic() {
    let signer = Signer::new().unwrap();
    let refused = |identity: &Identity, changes: &Value| {
        let token = signer.token(KID, &with(claims_of(identity), changes.clone())).unwrap();
        let error = checked(identity, &token).unwrap_err();
        assert_eq!(error.code(), "NOT_AUTHENTIC", "{changes}");
    };
    for changes in [
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": null }),
        json!({ "aud": "https://hooks.example.com/hooks/other" }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
        json!({ "email": "other@example.iam.gserviceaccount.com" }),
        json!({ "email_verified": false }),
        json!({ "email_verified": "true" }),
        json!({ "exp": NOW - 61 }),
        json!({ "exp": null }),
        json!({ "exp": "4102444800" }),
        json!({ "exp": 1e300 }),
        json!({ "nbf": NOW + 61 }),
    ] {
        refused(&google(), &changes);
    }
    for changes in [
        json!({ "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000002/" }),
        json!({ "tid": "00000000-0000-0000-0000-000000000002" }),
        json!({ "tid": null }),
        json!({ "aud": "api://other" }),
        json!({ "appid": "00000000-0000-0000-0000-000000000003" }),
        json!({ "appid": null }),
    ] {
        refused(&entra(), &changes);
    }
}

#[test]
fn a_forged_token_is_not_authentic() {
    let signer = Signer::new().unwrap();
    let claims = claims_of(&google());
    let token = signer.token(KID, &claims).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let other = signer.token(KID, &with(claims.clone(), json!({ "sub": "2" }))).unwrap();
    let (other_signed, _) = other.rsplit_once('.').unwrap();
    let none = signer
        .token_with(&json!({ "alg": "none", "kid": KID }), &claims)
        .unwrap();
    let symmetric = signer
        .token_with(&json!({ "alg": "HS256", "kid": KID }), &claims)
        .unwrap();
    let without_key = signer.token_with(&json!({ "alg": "RS256" }), &claims).unwrap();
    let embedded = signer
        .token_with(
            &json!({ "alg": "RS256", "kid": "x", "jku": "https://evil.example" }),
            &claims,
        )
        .unwrap();
    for forged in [
        format!("{other_signed}.{signature}"),
        format!("{signed}."),
        signed.to_owned(),
        format!("{token}.{signature}"),
        format!("{header}..{signature}"),
        token.to_uppercase(),
        none,
        symmetric,
        without_key,
        embedded,
        signer.token("wrong", &claims).unwrap(),
        signer.token("other", &claims).unwrap(),
        "a.b.c".to_owned(),
        String::new(),
        format!("{token}{}", "A".repeat(16 * 1024)),
    ] {
        let error = checked(&google(), &forged).unwrap_err();
        assert_eq!(error.code(), "NOT_AUTHENTIC", "{forged}");
        assert!(!error.to_string().contains("hooks.example.com"), "{error}");
    }
    let set = signer.key_set(KID);
    let bearer = format!("Bearer {token}");
    for headers in [&[] as &[&str], &[&token], &[&bearer, &bearer]] {
        assert!(check(&google(), headers, Some(&set), None).is_err(), "{headers:?}");
    }
}

#[test]
fn keys_are_needed_only_for_a_token_with_the_right_claims() {
    let signer = Signer::new().unwrap();
    let bearer = |claims: &Value| format!("Bearer {}", signer.token(KID, claims).unwrap());
    let needed = Authenticity::NeedsKeys(google().keys_url());
    let token = bearer(&claims_of(&google()));
    assert_eq!(check(&google(), &[&token], None, None).unwrap(), needed);
    let others = signer.key_set("key-2");
    assert_eq!(
        check(&google(), &[&token], None, Some(&others)).unwrap(),
        needed,
        "the key may be new"
    );
    assert_eq!(check(&google(), &[&token], None, Some("not a set")).unwrap(), needed);
    let stranger = bearer(&with(claims_of(&google()), json!({ "aud": "other" })));
    assert!(check(&google(), &[&stranger], None, None).is_err());
    assert!(
        entra()
            .keys_url()
            .starts_with("https://login.microsoftonline.com/00000000-")
    );
}

#[test]
fn no_change_to_a_token_or_to_its_keys_is_authentic() {
    let signer = Signer::new().unwrap();
    let token = signer.token(KID, &claims_of(&google())).unwrap();
    let set = signer.key_set(KID);
    fuzz(
        "tokens",
        &[token.clone().into_bytes(), set.clone().into_bytes()],
        |index, changed| {
            let Ok(text) = str::from_utf8(changed) else { return };
            let (shown, keys) = if index == 0 {
                (text, set.as_str())
            } else {
                (token.as_str(), text)
            };
            let Ok(value) = http::HeaderValue::from_str(&format!("Bearer {shown}")) else {
                return;
            };
            let checked = check(&google(), &[value.to_str().unwrap_or_default()], Some(keys), None);
            // Changes outside what is read leave it as it was: white space at its ends, and other keys.
            let is_same = index == 1 || shown.trim() == token;
            assert!(is_same || checked.is_err(), "{shown}");
        },
    );
}
