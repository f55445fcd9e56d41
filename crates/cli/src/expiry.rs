//! Credentials that expire: a document that refers to them works today and fails tomorrow.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use transship_registry::Login;

/// Users of access tokens that a cloud issues, and how long such a token lasts.
const TOKEN_USERS: [(&str, &str); 5] = [
    // https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
    (
        "AWS",
        "a token of Amazon ECR, which lasts for 12 hours: remove credentials, or use { ecr: { role: ARN } }, and the stack renews it; elsewhere use docker with Amazon's credential helper",
    ),
    // https://cloud.google.com/artifact-registry/docs/docker/authentication#token
    (
        "oauth2accesstoken",
        "an access token of Google Cloud, which lasts for an hour: use docker with a credential helper, or the key of a service account (_json_key)",
    ),
    // https://learn.microsoft.com/azure/container-registry/container-registry-authentication
    (
        "00000000-0000-0000-0000-000000000000",
        "a token of Azure Container Registry, which lasts for three hours: use a token of the registry with a password",
    ),
    // https://help.aliyun.com/zh/acr/developer-reference/api-cr-2018-12-01-getauthorizationtoken
    (
        "cr_temp_user",
        "a temporary login of Alibaba Cloud, which lasts for an hour: use the permanent password of the registry",
    ),
    // https://docs.gitlab.com/ci/jobs/ci_job_token/
    (
        "gitlab-ci-token",
        "the token of a job of GitLab, which ends with the job: use a deploy token",
    ),
];

#[derive(Deserialize)]
struct Claims {
    exp: Option<i64>,
}

/// Why the login will stop working: a sentence, which does not contain the secret.
pub(crate) fn why(login: &Login) -> Option<String> {
    let (user, secret) = match login {
        Login::Anonymous => return None,
        Login::Basic { username, password } => (username.as_str(), password.expose_secret()),
        Login::IdentityToken(token) => ("", token.expose_secret()),
    };
    let of_user = TOKEN_USERS.iter().find(|(name, _)| *name == user);
    if let Some((_, sentence)) = of_user {
        return Some(format!("the content is {sentence}"));
    }
    // https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
    if secret.starts_with("ghs_") {
        return Some(
            "the content is the token of a GitHub app or workflow, which lasts for hours: use a personal access token"
                .to_owned(),
        );
    }
    expiry(secret).map(|expiry| {
        format!(
            "the content is a token that expires at {expiry}: use a password or a robot account that does not expire"
        )
    })
}

/// The time in the token, if it is a JSON Web Token (RFC 7519) that has one.
fn expiry(secret: &str) -> Option<Timestamp> {
    let mut parts = secret.trim().split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Timestamp::from_second(claims.exp?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(username: &str, password: &str) -> Login {
        Login::Basic {
            username: username.to_owned(),
            password: password.to_owned().into(),
        }
    }

    #[test]
    fn credentials_that_expire_are_recognised_and_not_repeated() {
        let token = |claims: &str| {
            format!(
                "{}.{}.c2ln",
                URL_SAFE_NO_PAD.encode("{}"),
                URL_SAFE_NO_PAD.encode(claims)
            )
        };
        let dated = token(r#"{"exp":1767225600}"#);
        for (login, word) in [
            (login("AWS", "hunter2"), "12 hours"),
            (login("oauth2accesstoken", "hunter2"), "hour"),
            (login("cr_temp_user", "hunter2"), "hour"),
            (login("me", "ghs_hunter2"), "GitHub"),
            (login("me", &dated), "2026-01-01T00:00:00Z"),
            (Login::IdentityToken(dated.clone().into()), "2026-01-01T00:00:00Z"),
        ] {
            let why = why(&login).unwrap();
            assert!(
                why.contains(word) && !why.contains("hunter2") && !why.contains(&dated),
                "{why}"
            );
        }
        for login in [
            Login::Anonymous,
            login("me", "hunter2"),
            login("me", "a.b.c"),
            login("me", &token("{}")),
            login("me", &format!("{dated}.x")),
        ] {
            assert_eq!(why(&login), None);
        }
    }
}
