"""Argo CD: what manifests/argocd is generated from, the Lua that it runs, and Argo CD itself for one test."""
