"""The custom resources as models; one package for each version of the API."""
