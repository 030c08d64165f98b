//! The id of a container comes in; the name that its runtime gave it goes out, from the files in which Docker, Podman,
//! containerd and CRI-O keep it. No runtime is asked.

use std::path::Path;

use serde::Deserialize;

use super::process::read_bytes;

/// The largest of these files that is read: Podman's lists all containers in one.
const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Annotations of an OCI bundle that name the container: containerd's CRI plugin, CRI-O, nerdctl.
const ANNOTATIONS: [&str; 3] = ["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"];
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

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Name")]
    name: String,
}

#[derive(Deserialize)]
struct PodmanEntry {
    id: String,
    #[serde(default)]
    names: Vec<String>,
}

#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// What the runtime calls a container; `root` is the root directory of the host.
pub(super) fn container_name(root: &Path, id: &str) -> Option<String> {
    // The id becomes part of a path; boundaries only yield file names, and this holds it.
    if id.contains('/') || id.starts_with('.') {
        return None;
    }
    let docker = read_bytes(&root.join("var/lib/docker/containers").join(id).join("config.v2.json"), FILE_BYTES_MAX);
    if let Some(config) = docker.and_then(|bytes| serde_json::from_slice::<DockerConfig>(&bytes).ok()) {
        return Some(config.name.trim_start_matches('/').to_owned());
    }
    for list in PODMAN_LISTS {
        let entries = read_bytes(&root.join(list), FILE_BYTES_MAX);
        let entries = entries.and_then(|bytes| serde_json::from_slice::<Vec<PodmanEntry>>(&bytes).ok());
        // CRI-O keeps its containers in the same list, under names made of pod and uid: the bundle has the better one.
        let own = entries.unwrap_or_default().into_iter().find(|entry| entry.id == id);
        if let Some(name) = own.and_then(|entry| entry.names.into_iter().find(|name| !name.starts_with("k8s_"))) {
            return Some(name);
        }
    }
    BUNDLES.iter().find_map(|(directory, below)| {
        let path = root.join(directory).join(id).join(below).join("config.json");
        let bundle: Bundle = serde_json::from_slice(&read_bytes(&path, FILE_BYTES_MAX)?).ok()?;
        ANNOTATIONS.iter().find_map(|annotation| bundle.annotations.get(*annotation).cloned())
    })
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
                String::from(r#"{"annotations":{"io.kubernetes.cri.container-name":"cart"}}"#),
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
            assert_eq!(container_name(root.path(), &id).as_deref(), Some(expected));
            assert_eq!(container_name(root.path(), &"cd".repeat(32)), None);
            std::fs::write(&path, "{").unwrap();
            assert_eq!(container_name(root.path(), &id), None);
        }
    }
}
