//! A file in a bucket that everybody who knows its name can read, until it is dropped.
//!
//! Its name cannot be guessed. It is removed when the value goes, whatever has happened; [`Staged::remove`]
//! says whether that worked.

use std::io::Read;
use std::path::Path;

use aws_sdk_s3::types::ObjectCannedAcl;

use super::{S3Error, Service, told};

/// A public object.
pub struct Staged<'a> {
    service: &'a Service,
    bucket: String,
    key: String,
    there: bool,
}

impl<'a> Staged<'a> {
    /// Puts a file into a bucket under a random name that ends in `suffix`.
    pub fn put(service: &'a Service, bucket: &str, file: &Path, suffix: &str) -> Result<Staged<'a>, S3Error> {
        let unreadable = |error| S3Error::File(file.to_owned(), error);
        let key = format!("holdfast-upload-{}{suffix}", random().map_err(unreadable)?);
        // From here on there may be something to remove, even if the answer is lost.
        let staged = Staged { service, bucket: bucket.to_owned(), key, there: true };
        let request = service.client.put_object().bucket(bucket).key(&staged.key);
        service.send(request.acl(ObjectCannedAcl::PublicRead), bucket, &staged.key, file)?;
        Ok(staged)
    }

    /// Where it can be read.
    pub fn url(&self) -> String {
        self.service.url(&self.bucket, &self.key)
    }

    /// Its bucket and name, for people.
    pub fn name(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }

    /// Removes it.
    pub fn remove(mut self) -> Result<(), S3Error> {
        self.there = false;
        self.delete()
    }

    fn delete(&self) -> Result<(), S3Error> {
        let request = self.service.client.delete_object().bucket(&self.bucket).key(&self.key).send();
        let sent = self.service.runtime.block_on(request);
        sent.map(drop).map_err(|error| S3Error::Request {
            verb: "remove",
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            reason: told(&error),
        })
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if self.there {
            // What led here is told; a second error would hide it.
            let _ = self.delete();
        }
    }
}

/// 128 random bits, in hexadecimal.
fn random() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
