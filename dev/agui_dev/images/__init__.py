"""The container images of the project, built without a daemon: `python -m agui_dev.images build|lint|sbom|prune`.

buildah in chroot isolation needs root and Linux but neither Docker nor namespaces, so that the Dockerfile is really
built in tests, also where an engine cannot run. docs/images.md tells how, and what was measured.
"""
