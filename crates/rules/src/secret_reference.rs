//! References to secrets in a document: `env:NAME`, `file:PATH` and others.
//!
//! An error never repeats the rejected text, because it may be a password in the wrong field.

use std::fmt;

/// A reference to the credentials of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CredentialsRef {
    /// `env:NAME`: `user:password`, or JSON with `username` and `password`, in an environment variable.
    Env(String),
    /// `file:PATH`: the same content in a file.
    File(String),
    /// `docker`: Docker's `config.json` and its credential helpers.
    Docker,
    /// `secretsmanager:NAME`: the same content in AWS Secrets Manager.
    SecretsManager(String),
    /// `ssm:NAME`: the same content in AWS Systems Manager Parameter Store.
    Ssm(String),
    /// `{ ecr: { role: ARN } }`: a token of Amazon ECR, requested with a role.
    Ecr {
        /// The ARN of the role.
        role: String,
    },
}

impl CredentialsRef {
    /// Parses a text. The error lists the valid forms.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const FORMS: &str = "is not a reference to credentials: expected env:NAME, file:PATH, secretsmanager:NAME, ssm:NAME or docker; do not write the credentials themselves here";
        match text.split_once(':') {
            None if text == "docker" => Ok(Self::Docker),
            Some(("env", name)) if is_variable(name) => Ok(Self::Env(name.to_owned())),
            Some(("env", _)) => Err("is missing the name of an environment variable after env:"),
            Some((_, "")) => Err("has nothing after the colon"),
            Some(("file", path)) => Ok(Self::File(path.to_owned())),
            Some(("secretsmanager", name)) => Ok(Self::SecretsManager(name.to_owned())),
            Some(("ssm", name)) => Ok(Self::Ssm(name.to_owned())),
            _ => Err(FORMS),
        }
    }

    /// Reads the ARN of a role. Source: IAM user guide, "IAM identifiers"; other partitions are `aws-cn` and `aws-us-gov`.
    pub(crate) fn ecr(role: String) -> Result<Self, &'static str> {
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
        if is_role { Ok(Self::Ecr { role }) } else { Err(FORM) }
    }

    /// True if only the stack deployed on AWS supports it.
    pub const fn is_aws(&self) -> bool {
        matches!(self, Self::SecretsManager(_) | Self::Ssm(_) | Self::Ecr { .. })
    }
}

/// As written in the document. It contains only names, so it may be shown.
impl fmt::Display for CredentialsRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(formatter, "env:{name}"),
            Self::File(path) => write!(formatter, "file:{path}"),
            Self::Docker => formatter.write_str("docker"),
            Self::SecretsManager(name) => write!(formatter, "secretsmanager:{name}"),
            Self::Ssm(name) => write!(formatter, "ssm:{name}"),
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
