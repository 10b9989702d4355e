//! The relay that we did not write, and the certificates it shows.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

/// A certificate authority of a test, and what it has issued.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    /// The name matters: clients look for the issuer by it.
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, dir: tempfile::tempdir().unwrap() }
    }

    /// What an operator trusts.
    pub(crate) fn pem(&self) -> Vec<u8> {
        self.issuer.pem().into_bytes()
    }

    /// A file with certificate and key for a name.
    fn issue(&self, name: &str) -> PathBuf {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = self.dir.path().join("relay.pem");
        std::fs::write(&path, certificate.pem() + &key.serialize_pem()).unwrap();
        path
    }
}

/// See relay.py beside this file.
pub(crate) struct PythonRelay {
    child: Child,
    output: BufReader<ChildStdout>,
    pub(crate) port: u16,
}

impl PythonRelay {
    /// `certificate`: the authority that issued it, and for which name; none for a relay without TLS.
    pub(crate) fn start(mode: &str, certificate: Option<(&Authority, &str)>, login: (&str, &str)) -> PythonRelay {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/relay/relay.py");
        let pem = certificate.map(|(authority, name)| authority.issue(name)).unwrap_or_else(|| "-".into());
        let mut command = Command::new(python());
        command.arg(script).arg(mode).arg(pem).args([login.0, login.1]);
        // It complains of every client that breaks off, which is what they do here.
        let quiet = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = quiet.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        output.read_line(&mut first).unwrap();
        let port = first.trim().parse().unwrap_or_else(|_| panic!("the relay did not start: {first}"));
        PythonRelay { child, output, port }
    }

    /// Ends the relay and gives everything it said.
    pub(crate) fn said(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        let lines = (&mut self.output).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let said = lines.collect();
        self.child.wait().unwrap();
        said
    }
}

impl Drop for PythonRelay {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The Python that tests/setup.sh has made, with the libraries in tests/requirements.txt.
fn python() -> PathBuf {
    let named = std::env::var_os("BUGLE_TEST_PYTHON").map(PathBuf::from);
    let beside_the_build = || {
        let program = std::env::current_exe().unwrap();
        program.ancestors().nth(3).unwrap().join("python/bin/python3")
    };
    let python = named.unwrap_or_else(beside_the_build);
    assert!(python.exists(), "`{}` is missing: run `make setup`, which installs it beside the build", python.display());
    python
}
