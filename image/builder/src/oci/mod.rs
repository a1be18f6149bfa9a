//! OCI images: layers, the image layout, and pushing one to a registry.
