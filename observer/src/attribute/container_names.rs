//! The id of a container comes in; the name that its runtime gave it, and the Kubernetes namespace, go out, from the files in
//! which Docker, Podman, containerd and CRI-O keep it. No runtime is asked.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::process::read_bytes;

/// The largest of these files that is read: Podman's lists all containers in one.
const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Annotations of an OCI bundle that name the container: containerd's CRI plugin, CRI-O, nerdctl.
const ANNOTATIONS: [&str; 3] = ["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"];
/// Annotations and labels that name the namespace of its pod: containerd's CRI plugin, CRI-O and cri-dockerd.
const NAMESPACES: [&str; 2] = ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"];
/// Directories with a directory for each container that holds an OCI `config.json`.
const BUNDLES: [(&str, &str); 5] = [
    ("run/containerd/io.containerd.runtime.v2.task/k8s.io", ""),
    ("run/containerd/io.containerd.runtime.v2.task/default", ""),
    ("run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io", ""),
    ("run/containers/storage/overlay-containers", "userdata"),
    ("var/lib/containers/storage/overlay-containers", "userdata"),
];
/// Podman's lists of containers, by storage driver.
const PODMAN_LISTS: [&str; 2] = [
    "var/lib/containers/storage/overlay-containers/containers.json",
    "var/lib/containers/storage/vfs-containers/containers.json",
];

/// What a runtime calls a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerName {
    /// Its name.
    pub(super) name: Box<str>,
    /// The Kubernetes namespace of its pod.
    pub(super) namespace: Option<Box<str>>,
}

type Annotations = BTreeMap<Box<str>, Box<str>>;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Config", default)]
    config: DockerLabels,
}

#[derive(Default, Deserialize)]
struct DockerLabels {
    #[serde(rename = "Labels", default)]
    labels: Option<Annotations>,
}

#[derive(Deserialize)]
struct PodmanEntry {
    id: String,
    #[serde(default)]
    names: Option<Vec<Box<str>>>,
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: Option<Annotations>,
}

/// What the runtime calls a container; `root` is the root directory of the host.
pub(super) fn container_name(root: &Path, id: &str) -> Option<ContainerName> {
    // The id becomes part of a path; boundaries only yield file names, and this holds it.
    if id.contains('/') || id.starts_with('.') {
        return None;
    }
    docker(root, id).or_else(|| podman(root, id)).or_else(|| bundle(root, id))
}

fn docker(root: &Path, id: &str) -> Option<ContainerName> {
    let path = root.join("var/lib/docker/containers").join(id).join("config.v2.json");
    let config: DockerConfig = serde_json::from_slice(&read_bytes(&path, FILE_BYTES_MAX)?).ok()?;
    let namespace = config.config.labels.and_then(|labels| first(&labels, &NAMESPACES));
    Some(ContainerName { name: config.name.trim_start_matches('/').into(), namespace })
}

fn podman(root: &Path, id: &str) -> Option<ContainerName> {
    PODMAN_LISTS.iter().find_map(|list| {
        let entries: Vec<PodmanEntry> = serde_json::from_slice(&read_bytes(&root.join(list), FILE_BYTES_MAX)?).ok()?;
        let own = entries.into_iter().find(|entry| entry.id == id)?;
        // CRI-O keeps its containers in the same list, under names made of pod and uid: the bundle has the better one.
        let name = own.names?.into_iter().find(|name| !name.starts_with("k8s_"))?;
        Some(ContainerName { name, namespace: None })
    })
}

fn bundle(root: &Path, id: &str) -> Option<ContainerName> {
    BUNDLES.iter().find_map(|(directory, below)| {
        let path = root.join(directory).join(id).join(below).join("config.json");
        let bundle: Bundle = serde_json::from_slice(&read_bytes(&path, FILE_BYTES_MAX)?).ok()?;
        let annotations = bundle.annotations?;
        Some(ContainerName { name: first(&annotations, &ANNOTATIONS)?, namespace: first(&annotations, &NAMESPACES) })
    })
}

fn first(annotations: &Annotations, keys: &[&str]) -> Option<Box<str>> {
    keys.iter().find_map(|key| annotations.get(*key).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runtime_s_files_tell_the_name() {
        let id = "ab".repeat(32);
        let cases = [
            (
                format!("var/lib/docker/containers/{id}/config.v2.json"),
                String::from(r#"{"ID":"x","Name":"/shop-db-1"}"#),
                "shop-db-1",
            ),
            (PODMAN_LISTS[0].to_owned(), format!(r#"[{{"id":"{id}","names":["ledger"],"layer":"x"}}]"#), "ledger"),
            (
                format!("{}/{id}/config.json", BUNDLES[0].0),
                String::from(
                    r#"{"annotations":{"io.kubernetes.cri.container-name":"cart","io.kubernetes.cri.sandbox-namespace":"shop"}}"#,
                ),
                "cart",
            ),
            (
                format!("{}/{id}/userdata/config.json", BUNDLES[3].0),
                String::from(r#"{"annotations":{"io.kubernetes.container.name":"pay"}}"#),
                "pay",
            ),
        ];
        for (path, text, expected) in cases {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            let found = container_name(root.path(), &id).unwrap();
            assert_eq!(&*found.name, expected);
            assert_eq!(found.namespace.as_deref(), (expected == "cart").then_some("shop"));
            assert_eq!(container_name(root.path(), &"cd".repeat(32)), None);
            std::fs::write(&path, "{").unwrap();
            assert_eq!(container_name(root.path(), &id), None);
        }
    }
}
