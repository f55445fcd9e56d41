//! References to secrets in a document: `env:NAME`, `file:PATH` and others.
//!
//! An error never repeats the rejected text, because it may be a password in the wrong field.

use std::fmt;
use std::str::FromStr;

use transship_oci::Cloud;

/// A place where secrets are kept.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SecretScheme {
    /// What stands before the colon of a reference.
    pub name: &'static str,
    /// The form of a reference, for messages.
    pub form: &'static str,
    /// The cloud whose stack reads it; [`None`]: any process does.
    pub cloud: Option<Cloud>,
}

/// Every scheme of secret references. An adapter reads each: see the engine's `SecretTable`.
pub static SECRET_SCHEMES: &[SecretScheme] = &[
    // An environment variable.
    SecretScheme {
        name: "env",
        form: "env:NAME",
        cloud: None,
    },
    // A file.
    SecretScheme {
        name: "file",
        form: "file:PATH",
        cloud: None,
    },
    // AWS Secrets Manager.
    SecretScheme {
        name: "secretsmanager",
        form: "secretsmanager:NAME",
        cloud: Some(Cloud::Aws),
    },
    // AWS Systems Manager Parameter Store.
    SecretScheme {
        name: "ssm",
        form: "ssm:NAME",
        cloud: Some(Cloud::Aws),
    },
];

/// A reference to a secret, `scheme:rest`. Holds names only, so it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretReference {
    scheme: &'static SecretScheme,
    rest: String,
}

/// The text is not a reference to a secret; the sentence says which forms there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAReference(String);

impl SecretReference {
    /// The name of the scheme: one of [`SECRET_SCHEMES`].
    pub const fn scheme(&self) -> &'static str {
        self.scheme.name
    }

    /// What follows the colon; never empty.
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// The cloud whose stack reads it; [`None`]: any process does.
    pub const fn cloud(&self) -> Option<Cloud> {
        self.scheme.cloud
    }

    /// The forms of all references, for a message.
    fn forms() -> String {
        let forms: Vec<&str> = SECRET_SCHEMES.iter().map(|scheme| scheme.form).collect();
        forms.join(", ")
    }
}

impl FromStr for SecretReference {
    type Err = NotAReference;

    fn from_str(text: &str) -> Result<Self, NotAReference> {
        let found = text.split_once(':').and_then(|(name, rest)| {
            let scheme = SECRET_SCHEMES.iter().find(|scheme| scheme.name == name)?;
            Some((scheme, rest))
        });
        match found {
            None => Err(NotAReference(format!(
                "is not a reference to a secret: expected one of {}; do not write the secret itself here",
                Self::forms()
            ))),
            Some((_, "")) => Err(NotAReference("has nothing after the colon".to_owned())),
            Some((scheme, name)) if scheme.name == "env" && !is_variable(name) => Err(NotAReference(
                "is missing the name of an environment variable after env:".to_owned(),
            )),
            Some((scheme, rest)) => Ok(Self {
                scheme,
                rest: rest.to_owned(),
            }),
        }
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.scheme.name, self.rest)
    }
}

/// A reference to the credentials of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CredentialsRef {
    /// A secret: `user:password`, or JSON with `username` and `password`.
    Secret(SecretReference),
    /// `docker`: Docker's `config.json` and its credential helpers.
    Docker,
    /// `{ ecr: { role: ARN } }`: a token of Amazon ECR, requested with a role.
    Ecr {
        /// The ARN of the role.
        role: String,
    },
}

impl CredentialsRef {
    /// Parses a text. The error lists the valid forms.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text == "docker" {
            return Ok(Self::Docker);
        }
        let has_scheme = text
            .split_once(':')
            .is_some_and(|(name, _)| SECRET_SCHEMES.iter().any(|scheme| scheme.name == name));
        match text.parse() {
            Ok(reference) => Ok(Self::Secret(reference)),
            Err(NotAReference(why)) if has_scheme => Err(why),
            Err(_) => Err(format!(
                "is not a reference to credentials: expected one of {} or docker; do not write the credentials themselves here",
                SecretReference::forms()
            )),
        }
    }

    /// Reads the ARN of a role. Source: IAM user guide, "IAM identifiers"; other partitions are `aws-cn` and `aws-us-gov`.
    pub(crate) fn ecr(role: String) -> Result<Self, String> {
        const FORM: &str = "is not the ARN of a role: expected arn:aws:iam::<account>:role/<name>";
        let mut parts = role.splitn(6, ':');
        let mut is = |what: &dyn Fn(&str) -> bool| parts.next().is_some_and(what);
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_role = is(&|text| text == "arn")
            && is(&|text| text == "aws" || text.starts_with("aws-"))
            && is(&|text| text == "iam")
            && is(&str::is_empty)
            && is(&is_account)
            && is(&|text| text.strip_prefix("role/").is_some_and(|name| !name.is_empty()));
        if is_role {
            Ok(Self::Ecr { role })
        } else {
            Err(FORM.to_owned())
        }
    }

    /// The cloud whose stack reads it; [`None`]: any process does.
    pub const fn cloud(&self) -> Option<Cloud> {
        match self {
            Self::Secret(reference) => reference.cloud(),
            Self::Docker => None,
            Self::Ecr { .. } => Some(Cloud::Aws),
        }
    }
}

/// As written in the document. It contains only names, so it may be shown.
impl fmt::Display for CredentialsRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(reference) => write!(formatter, "{reference}"),
            Self::Docker => formatter.write_str("docker"),
            Self::Ecr { role } => write!(formatter, "ecr:{role}"),
        }
    }
}

/// Source: POSIX, Environment Variables; anything else cannot be set by a shell.
fn is_variable(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(word) && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_design_are_read_and_shown_again() {
        for text in [
            "env:NAME",
            "file:/run/secrets/a b",
            "docker",
            "secretsmanager:a/b",
            "ssm:/a/b",
        ] {
            assert_eq!(CredentialsRef::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_role_is_known_by_its_arn() {
        for role in [
            "arn:aws:iam::123456789012:role/pull",
            "arn:aws-cn:iam::123456789012:role/team/pull",
        ] {
            assert_eq!(
                CredentialsRef::ecr(role.to_owned()).unwrap().to_string(),
                format!("ecr:{role}")
            );
        }
        for role in [
            "",
            "pull",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:iam::123456789012:user/x",
            "arn:aws:iam::12345:role/x",
            "arn:aws:sts::123456789012:role/x",
            "arn:aws:iam:us-east-1:123456789012:role/x",
        ] {
            assert!(CredentialsRef::ecr(role.to_owned()).is_err(), "{role}");
        }
    }

    #[test]
    fn a_password_in_place_of_a_reference_is_refused_unprinted() {
        for text in [
            "alice:hunter2",
            "hunter2",
            "",
            "env:",
            "env:9A",
            "env:A B",
            "file:",
            "Docker",
        ] {
            let why = CredentialsRef::parse(text).unwrap_err();
            assert!(text.is_empty() || !why.contains("hunter2"), "{text}");
        }
    }
}
