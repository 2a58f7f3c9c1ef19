//! Certificates of a cluster, made by `openssl`, and the kubeconfigs that use them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use crate::config::render;
use crate::layout::{API_SERVICE_IP, Layout, NODE_IP};
use crate::run::check_output;

/// Users with a client certificate: file name, common name, organization (the group).
const USERS: [(&str, &str, Option<&str>); 6] = [
    ("admin", "admin", Some("system:masters")),
    (
        "apiserver-kubelet-client",
        "apiserver-kubelet-client",
        Some("system:masters"),
    ),
    (
        "kube-controller-manager",
        "system:kube-controller-manager",
        None,
    ),
    ("kube-scheduler", "system:kube-scheduler", None),
    ("kube-proxy", "system:kube-proxy", None),
    ("coredns", "system:coredns", None),
];

/// What a worker has from the control plane's node: users, and the authority.
const SHARED: [&str; 3] = ["admin", "kube-proxy", "ca"];

/// Makes all certificates and kubeconfigs of the node with the control plane. They hold for a year.
///
/// # Errors
/// `openssl` fails, or a file cannot be written.
pub(crate) fn make(layout: &Layout) -> anyhow::Result<()> {
    let pki = layout.pki();
    fs::create_dir_all(&pki)?;
    authority(&pki, "ca")?;
    authority(&pki, "front-proxy-ca")?;
    for (file, name, group) in USERS {
        let subject = match group {
            Some(group) => format!("/O={group}/CN={name}"),
            None => format!("/CN={name}"),
        };
        certificate(&pki, "ca", file, &subject, "extendedKeyUsage=clientAuth")?;
        kubeconfig(layout, file)?;
    }
    certificate(
        &pki,
        "front-proxy-ca",
        "front-proxy-client",
        "/CN=front-proxy-client",
        "extendedKeyUsage=clientAuth",
    )?;
    let names = ["", ".default", ".default.svc", ".default.svc.cluster.local"]
        .map(|suffix| format!("DNS:kubernetes{suffix}"))
        .join(",");
    let serving = format!(
        "extendedKeyUsage=serverAuth\nsubjectAltName={names},IP:{NODE_IP},IP:{API_SERVICE_IP},IP:127.0.0.1"
    );
    certificate(&pki, "ca", "apiserver", "/CN=kube-apiserver", &serving)?;
    kubelet(layout)?;
    token_keys(&pki)
}

/// Makes those of a worker, with the authority of the control plane's node.
///
/// # Errors
/// As [`make`].
pub(crate) fn make_for_worker(control: &Layout, worker: &Layout) -> anyhow::Result<()> {
    let pki = worker.pki();
    fs::create_dir_all(&pki)?;
    for name in SHARED {
        for kind in ["crt", "key"] {
            let file = format!("{name}.{kind}");
            fs::copy(control.pki().join(&file), pki.join(&file))?;
        }
    }
    for user in ["admin", "kube-proxy"] {
        kubeconfig(worker, user)?;
    }
    kubelet(worker)
}

/// The certificates by which a kubelet is known, to the API server and to its clients.
fn kubelet(layout: &Layout) -> anyhow::Result<()> {
    let (pki, member) = (layout.pki(), layout.member());
    let (name, ip) = (member.name(), member.ip());
    let subject = format!("/O=system:nodes/CN=system:node:{name}");
    certificate(
        &pki,
        "ca",
        "kubelet",
        &subject,
        "extendedKeyUsage=clientAuth",
    )?;
    kubeconfig(layout, "kubelet")?;
    let serving = format!("extendedKeyUsage=serverAuth\nsubjectAltName=DNS:{name},IP:{ip}");
    certificate(&pki, "ca", "kubelet-server", "/CN=kubelet", &serving)
}

fn kubeconfig(layout: &Layout, user: &str) -> anyhow::Result<()> {
    let text = render(include_str!("../conf/kubeconfig.yaml"), layout).replace("@USER@", user);
    Ok(fs::write(layout.kubeconfig(user), text)?)
}

fn openssl(pki: &Path, args: &[&str]) -> anyhow::Result<()> {
    check_output(Command::new("openssl").args(args).current_dir(pki))?;
    Ok(())
}

const NEW_KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
];

fn authority(pki: &Path, name: &str) -> anyhow::Result<()> {
    let (key, crt) = (format!("{name}.key"), format!("{name}.crt"));
    let subject = format!("/CN={name}");
    let args = ["-days", "365", "-subj", &subject, "-keyout", &key];
    let args = [&["req", "-x509"][..], &NEW_KEY, &args, &["-out", &crt]].concat();
    openssl(pki, &args).with_context(|| format!("make the authority {name}"))
}

fn certificate(
    pki: &Path,
    authority: &str,
    name: &str,
    subject: &str,
    extensions: &str,
) -> anyhow::Result<()> {
    let [key, csr, crt, ext] = ["key", "csr", "crt", "ext"].map(|kind| format!("{name}.{kind}"));
    let ca = ["crt", "key"].map(|kind| format!("{authority}.{kind}"));
    fs::write(pki.join(&ext), extensions)?;
    let request = ["-subj", subject, "-keyout", &key, "-out", &csr];
    let sign = [
        "x509",
        "-req",
        "-in",
        &csr,
        "-CA",
        &ca[0],
        "-CAkey",
        &ca[1],
        "-CAcreateserial",
        "-days",
        "365",
        "-extfile",
        &ext,
        "-out",
        &crt,
    ];
    openssl(pki, &[&["req"][..], &NEW_KEY, &request].concat())
        .and_then(|()| openssl(pki, &sign))
        .with_context(|| format!("make the certificate of {name}"))
}

/// The key pair that signs tokens of service accounts.
fn token_keys(pki: &Path) -> anyhow::Result<()> {
    openssl(
        pki,
        &[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            "sa.key",
        ],
    )
    .and_then(|()| openssl(pki, &["pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub"]))
    .context("make the keys for tokens")
}
