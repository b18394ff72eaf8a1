"""`regent crds`: the custom resource definitions of this version, for clusters that are installed without the chart."""

from __future__ import annotations

import click

from regent.api.v1alpha1.schema import custom_resource_definitions, to_yaml
from regent.cli.output import Output, as_document, kubernetes_list


@click.command()
@click.option(
    "-o",
    "--output",
    "--format",
    "output",
    type=click.Choice([Output.YAML.value, Output.JSON.value, Output.TABLE.value], case_sensitive=False),
    default=Output.YAML.value,
    show_default=True,
    help="How to write them; table lists their names.",
)
def crds(output: str) -> None:
    """Print the custom resource definitions.

    Install them with: regent crds | kubectl apply --server-side -f -
    """
    definitions = custom_resource_definitions()
    if output == Output.JSON.value:
        click.echo(as_document(kubernetes_list(definitions), Output.JSON), nl=False)
    elif output == Output.TABLE.value:
        for definition in definitions:
            click.echo(definition["metadata"]["name"])
    else:
        click.echo("---\n".join(to_yaml(definition) for definition in definitions), nl=False)
