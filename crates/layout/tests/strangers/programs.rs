//! Layouts and archives that other programs wrote, plain and packed.

use std::path::Path;
use std::process::Command;

use futures_util::TryStreamExt;
use transship_embedded_registry::EmbeddedRegistry;
use transship_layout::{Archive, Images, Layout, SourceKind, discover, open};
use transship_oci::{Digest, Target};
use transship_testkit::images;

use super::files::{read, store_of};

/// Runs a program; false, and a word about it, if it is not installed.
async fn ran(program: &str, arguments: &[&str]) -> bool {
    match tokio::process::Command::new(program).args(arguments).output().await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed (apt-get install {program})");
            false
        }
        output => {
            let output = output.unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {said}");
            true
        }
    }
}

/// A registry with an image whose layers are tars: programs that unpack them must be able to.
async fn registry() -> (EmbeddedRegistry, Digest) {
    let registry = EmbeddedRegistry::builder().start().await.unwrap();
    let sample = images::unpackable(21, &[40_000, 300]);
    sample.seed_into(&registry, &"app".parse().unwrap(), &"v1".parse().unwrap());
    (registry, sample.root)
}

async fn skopeo(registry: &EmbeddedRegistry, to: &str) {
    let from = format!("docker://{}/app:v1", registry.host());
    let options = ["copy", "--quiet", "--src-tls-verify=false"];
    let arguments: Vec<&str> = options.into_iter().chain([from.as_str(), to]).collect();
    assert!(
        ran("skopeo", &arguments).await,
        "skopeo is needed here (apt-get install skopeo)"
    );
}

fn pack(folder: &Path, file: &str) {
    let plain = folder.join(file);
    for (program, suffix) in [("gzip", "gz"), ("zstd", "zst")] {
        let packed = std::fs::File::create(folder.join(format!("{suffix}-{file}.{suffix}"))).unwrap();
        let status = Command::new(program).arg("-c").arg(&plain).stdout(packed).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{program} is needed here (apt-get install {program})"
        );
    }
}

/// Opens everything in `folder`; the digest of each source's only image, proven, by the source's place.
async fn all(folder: &Path) -> Vec<(String, SourceKind, Digest, Target)> {
    let store = store_of(folder);
    let found: Vec<_> = discover(store.clone(), "").try_collect().await.unwrap();
    let mut all = Vec::new();
    for found in found {
        let source = open(store.clone(), &found).await.unwrap();
        let listing = source.images().await.unwrap();
        assert!(listing.refused.is_empty(), "{}: {:?}", found.key, listing.refused);
        assert_eq!(listing.images.len(), 1, "{}", found.key);
        let image = &listing.images[0];
        let (digest, _) = read(source.as_ref(), image.target.clone()).await;
        assert_eq!(digest, image.descriptor.digest);
        all.push((found.path, found.kind, digest, image.target.clone()));
    }
    all
}

#[tokio::test]
async fn what_skopeo_writes_is_read() {
    let (registry, root) = registry().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    skopeo(&registry, &format!("oci:{}:v1", at("layout"))).await;
    skopeo(&registry, &format!("oci-archive:{}:v1", at("oci.tar"))).await;
    skopeo(
        &registry,
        &format!("docker-archive:{}:r.example/app:v1", at("docker.tar")),
    )
    .await;
    pack(folder.path(), "oci.tar");
    pack(folder.path(), "docker.tar");
    let all = all(folder.path()).await;
    assert_eq!(all.len(), 7);
    let assembled: Vec<&Digest> = all
        .iter()
        .filter(|(path, ..)| path.contains("docker"))
        .map(|(_, _, digest, _)| digest)
        .collect();
    assert!(assembled.len() == 3 && assembled.windows(2).all(|pair| pair[0] == pair[1]));
    for (path, _, digest, target) in &all {
        assert_eq!(target.to_string(), "v1", "{path}");
        assert!(path.contains("docker") || *digest == root, "{path} holds {digest}");
    }
}

#[tokio::test]
async fn what_umoci_and_buildah_write_is_read() {
    let (registry, _) = registry().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let layout = at("umoci");
    if ran("umoci", &["init", "--layout", &layout]).await {
        let image = format!("{layout}:v2");
        ran("umoci", &["new", "--image", &image]).await;
        ran("umoci", &["config", "--image", &image, "--author", "stranger"]).await;
        let source = Layout::open(store_of(Path::new(&layout)), "").await.unwrap();
        assert_eq!(source.images().await.unwrap().images.len(), 1);
        read(&source, Target::Tag("v2".parse().unwrap())).await;
    }
    let (root, run) = (at("root"), at("run"));
    let storage = ["--root", &root, "--runroot", &run, "--storage-driver", "vfs"];
    let buildah = |arguments: &[&str]| {
        let all: Vec<String> = storage.iter().chain(arguments).map(ToString::to_string).collect();
        async move { ran("buildah", &all.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let from = format!("docker://{}/app:v1", registry.host());
    if buildah(&["pull", "--quiet", "--tls-verify=false", &from]).await {
        let name = format!("{}/app:v1", registry.host());
        for (kind, file) in [("oci-archive", "b-oci.tar"), ("docker-archive", "b-docker.tar")] {
            let to = format!("{kind}:{}:r.example/app:v3", at(file));
            assert!(buildah(&["push", "--quiet", &name, &to]).await);
            let store = store_of_one(folder.path(), file);
            let archive = Archive::open(store, file).await.unwrap();
            read(&archive, Target::Tag("v3".parse().unwrap())).await;
        }
    }
}

#[tokio::test]
async fn what_crane_writes_is_read_where_there_is_one() {
    let (registry, root) = registry().await;
    let folder = tempfile::tempdir().unwrap();
    let layout = folder.path().join("layout").display().to_string();
    let image = format!("{}/app:v1", registry.host());
    let pull = ["pull", "--insecure", "--format=oci", "--annotate-ref", &image, &layout];
    if ran("crane", &pull).await {
        let all = all(folder.path()).await;
        let [(_, _, digest, target)] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert_eq!((digest, target.to_string().as_str()), (&root, "v1"));
    }
}

fn store_of_one(folder: &Path, file: &str) -> std::sync::Arc<transship_layout::MemoryStore> {
    let bytes = std::fs::read(folder.join(file)).unwrap().into();
    std::sync::Arc::new(transship_layout::MemoryStore::new([(file.to_owned(), bytes)].into()))
}
