"""What every frame of the protocol has in common, and the types of its fields (pure)."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

I32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
U32 = Annotated[int, Field(ge=0, le=2**32 - 1)]
TaskId = Annotated[UUID, Field(description="The task")]
Secret = Annotated[str, Field(repr=False)]
"""Text that belongs in no log: the frame's repr leaves it out."""


class Part(BaseModel):
    """A value on the wire: camelCase there, snake_case here, and never changed.

    Types are taken as they are: no number is made of text, no whole number of a fraction. A field
    that may be None may be missing from what is read; what is written has every field. Fields
    that we do not know are passed over.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, extra="ignore", frozen=True, strict=True, validate_by_name=True
    )


class BranchInfo(Part):
    """A branch of a subtask, in `branchList`."""

    name: Annotated[str, Field(description="The whole name of the branch")]
    task_id: Annotated[
        UUID | None, Field(description="The task that the branch's name tells, if it tells one")
    ] = None
    is_merged: bool
    last_commit: Annotated[str, Field(description="The short SHA of the last commit")]
    last_commit_message: Annotated[str, Field(description="Its subject line")]
