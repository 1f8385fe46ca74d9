"""`/api/v1/analyze`: judging ideas, suggesting improvements, writing configurations."""

from fastapi import APIRouter

from api.v1.analysis import feasibility, generation, improvements

router = APIRouter()
router.include_router(improvements.router)
router.include_router(feasibility.router)
router.include_router(generation.router)
