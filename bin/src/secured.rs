//! The files of a member's certificates, as the command line and the configuration name them: all three, or none.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::args::Usage;

/// The variables that name them.
pub(crate) const VARIABLES: [&str; 3] = ["HMN_TLS_CA", "HMN_TLS_CERT", "HMN_TLS_KEY"];

/// See the file's header.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TlsArgs {
    /// Speak TLS with the other members, and trust those whose certificates are of an authority in this file (PEM). Goes with the
    /// next two; all members have them, or none. "hmn cert" makes all three.
    #[arg(long, env = VARIABLES[0], value_name = "FILE")]
    pub(crate) tls_ca: Option<PathBuf>,
    /// This member's certificate (PEM), for the URI hypermnesia://CLUSTER/NAME. A new one in its place is taken without a
    /// restart.
    #[arg(long, env = VARIABLES[1], value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM), which nobody else may read.
    #[arg(long, env = VARIABLES[2], value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// These, and what they leave out of others.
    pub(crate) fn above(self, other: TlsArgs) -> TlsArgs {
        TlsArgs {
            tls_ca: self.tls_ca.or(other.tls_ca),
            tls_cert: self.tls_cert.or(other.tls_cert),
            tls_key: self.tls_key.or(other.tls_key),
        }
    }

    /// Whether any is named.
    pub(crate) fn is_named(&self) -> bool {
        self.tls_ca.is_some() || self.tls_cert.is_some() || self.tls_key.is_some()
    }

    /// All three, or none.
    pub(crate) fn files(&self) -> Result<Option<[PathBuf; 3]>> {
        let named = [&self.tls_ca, &self.tls_cert, &self.tls_key];
        if let [Some(ca), Some(cert), Some(key)] = named {
            return Ok(Some([ca.clone(), cert.clone(), key.clone()]));
        }
        let options = ["--tls-ca", "--tls-cert", "--tls-key"];
        let missing = options.into_iter().zip(named).filter(|(_, file)| file.is_none());
        let missing: Vec<_> = missing.map(|(option, _)| option).collect();
        if missing.len() == options.len() {
            return Ok(None);
        }
        Err(Usage::error(format!(
            "TLS between members needs all of --tls-ca, --tls-cert and --tls-key, and there is no {}",
            missing.join(" and no ")
        )))
    }
}
