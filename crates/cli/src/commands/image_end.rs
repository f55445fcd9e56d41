//! The images of commands that take two of them: a registry of the document, by its name or a host, or any other host.

use std::sync::Arc;

use transship_engine::{ImageRef, Snapshot};
use transship_local::DockerConfig;
use transship_oci::{RegistryHost, Result, Target};
use transship_registry::RemoteRepository;
use transship_rules::Document;

use crate::failure::{Exit, Failure};
use crate::image_source::reference;
use crate::registries::Registries;

/// One of the two images.
pub(super) struct End {
    /// Its repository.
    pub(super) repository: RemoteRepository,
    /// What is read or written there.
    pub(super) target: Target,
    /// As it is shown.
    pub(super) shown: String,
}

impl End {
    /// The image of a registry of the document.
    pub(super) fn of(snapshot: &Snapshot, image: ImageRef) -> Result<Self, Failure> {
        Ok(Self {
            repository: snapshot.registry(&image.registry)?.repository(image.repository.clone()),
            shown: image.to_string(),
            target: image.target,
        })
    }
}

/// Both images; a registry that the document does not have is asked with the logins of Docker.
pub(super) fn ends((source, destination): (&str, &str), snapshot: Option<&Snapshot>) -> Result<(End, End), Failure> {
    let mut registries = Registries::new(Arc::new(DockerConfig::load()?));
    let mut end = |text: &str, otherwise: Option<&Target>| {
        if let Some(snapshot) = snapshot
            && let Some(image) = of_document(&snapshot.document, text, otherwise)?
        {
            return End::of(snapshot, image);
        }
        let image = reference(text)?;
        Ok(End {
            repository: registries.client(&image.host)?.repository(image.repository.clone()),
            target: image.target().map_err(|error| Failure::of(Exit::Input, &error))?,
            shown: image.to_string(),
        })
    };
    let from = end(source, None)?;
    let to = end(destination, Some(&from.target))?;
    Ok((from, to))
}

/// `NAME/REPOSITORY[:TAG|@DIGEST]` or `HOST/REPOSITORY[:TAG|@DIGEST]` of a registry of the document; [`None`] if it has none of
/// that name or host. `otherwise` is the target of one without a tag.
pub(super) fn of_document(
    document: &Document,
    text: &str,
    otherwise: Option<&Target>,
) -> Result<Option<ImageRef>, Failure> {
    let Some((called, rest)) = text.split_once('/') else {
        return Ok(None);
    };
    if document.registries.contains_key(called) {
        return image(text, otherwise).map(Some);
    }
    let Ok(host) = called.parse::<RegistryHost>() else {
        return Ok(None);
    };
    let named = document.registries_called(&host).next();
    named
        .map(|(name, _)| image(&format!("{name}/{rest}"), otherwise))
        .transpose()
}

/// `NAME/REPOSITORY[:TAG|@DIGEST]`; `otherwise` is the target of one without.
pub(super) fn image(text: &str, otherwise: Option<&Target>) -> Result<ImageRef, Failure> {
    let invalid = |error: transship_oci::Error| Failure::of(Exit::Input, &error);
    let Some((registry, rest)) = text.split_once('/') else {
        return Err(Failure::usage(format!(
            "{text:?} is not NAME/REPOSITORY[:TAG|@DIGEST], where NAME is a registry of the document"
        )));
    };
    let (repository, target) = if let Some((repository, digest)) = rest.split_once('@') {
        (repository, Some(Target::Digest(digest.parse().map_err(invalid)?)))
    } else if let Some((repository, tag)) = rest.rsplit_once(':') {
        (repository, Some(Target::Tag(tag.parse().map_err(invalid)?)))
    } else {
        (rest, None)
    };
    let target = match target.or_else(|| otherwise.cloned()) {
        Some(target) => target,
        None => Target::Tag("latest".parse().map_err(invalid)?),
    };
    Ok(ImageRef {
        registry: registry.to_owned(),
        repository: repository.parse().map_err(invalid)?,
        target,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_the_name_of_its_registry_and_the_tag_of_the_source() {
        let source = image("hangzhou/core/app:v1", None).unwrap();
        assert_eq!(source.to_string(), "hangzhou/core/app:v1");
        let destination = image("zhangjiakou/copy/app", Some(&source.target)).unwrap();
        assert_eq!(destination.to_string(), "zhangjiakou/copy/app:v1");
        assert_eq!(image("a/app", None).unwrap().to_string(), "a/app:latest");
        assert_eq!(image("app", None).unwrap_err().code(), "USAGE");
        assert_eq!(image("a/App", None).unwrap_err().code(), "INVALID_REFERENCE");
    }

    #[test]
    fn a_registry_of_the_document_is_called_by_its_name_or_a_host() {
        let text = "version: 1\nregistries: { a: { provider: distribution, endpoint: \"https://r.example\", hosts: [images.example] } }\nrules: []\n";
        let document = Document::parse(text).unwrap().document;
        let of = |text: &str| {
            let found = of_document(&document, text, None).unwrap();
            found.map(|image| image.to_string())
        };
        for text in ["a/core/app:v1", "r.example/core/app:v1", "images.example/core/app:v1"] {
            assert_eq!(of(text).as_deref(), Some("a/core/app:v1"), "{text}");
        }
        for text in ["b/core/app:v1", "other.example/app", "app", "oci:./folder/image:v1"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
