"""What is deployed and read: documents, manifests, image, alerts. Nothing of what a run finds."""
