"""What the evaluation asks, and what is right: written, with its labels, before any of it was run.

The search among known servers was tuned on other requests, which are those of tests/known/requests.py.
"""

# ruff: noqa: RUF001 - Chinese is written with commas of its own

from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(frozen=True)
class Request:
    """Something that somebody wants."""

    name: str
    words: str = ""
    requirements: dict[str, Any] | None = None
    openapi: dict[str, Any] | str | None = None
    servers: frozenset[str] = field(default_factory=frozenset)
    """Slugs of the known servers that are right; none where the catalogue has none."""
    feasible: bool = True
    """What the verdict on it should be."""

    @property
    def wanted(self) -> dict[str, Any]:
        """Give the body of `POST /analyze/generate-config`."""
        if self.openapi is not None:
            return {"openapi": self.openapi}
        if self.requirements is not None:
            return {"requirements": self.requirements}
        return {"description": self.words}

    @property
    def idea(self) -> dict[str, Any]:
        """Give what `POST /analyze/feasibility` judges."""
        return {"name": self.name, "description": self.words, "requirements": self.requirements or {}}

    @property
    def has_configuration(self) -> bool:
        """Whether a configuration can be written without inventing one."""
        return bool(self.servers) or self.openapi is not None


def _known(name: str, wish: str | dict[str, Any], *servers: str) -> Request:
    if isinstance(wish, str):
        return Request(name, words=wish, servers=frozenset(servers))
    return Request(name, requirements=wish, servers=frozenset(servers))


def _api(title: str, path: str, operation: str, parameter: str, told: str) -> dict[str, Any]:
    shape = {"type": "object", "properties": {parameter: {"type": "string"}}}
    return {
        "openapi": "3.0.3",
        "info": {"title": title, "version": "1.0.0", "description": told},
        "servers": [{"url": "https://api.example.com/v1"}],
        "paths": {
            path: {
                "get": {
                    "operationId": operation,
                    "summary": told,
                    "parameters": [{"name": parameter, "in": "query", "schema": {"type": "string"}}],
                    "responses": {
                        "200": {
                            "description": "What was found",
                            "content": {"application/json": {"schema": shape}},
                        }
                    },
                }
            }
        },
    }


_YAML: Final = """\
openapi: 3.1.0
info: {title: Loyalty points, version: 2.0.0}
servers: [{url: https://points.example.com}]
paths:
  /members/{member}/points:
    post:
      operationId: addPoints
      summary: Add points to a member's account
      parameters:
        - {name: member, in: path, required: true, schema: {type: string}}
      requestBody:
        content:
          application/json:
            schema:
              type: object
              required: [points]
              properties: {points: {type: integer, minimum: 1}}
      responses:
        "201": {description: Added}
"""

REQUESTS: Final = (
    _known(
        "Library docs",
        "A developer assistant that looks up the current documentation of the npm libraries that we use.",
        "context7",
    ),
    _known("Metrics", "Keep an eye on our Prometheus: run queries over the metrics.", "prometheus"),
    _known(
        "Appointments",
        {
            "tool_type": "calendar",
            "features": ["list events", "create event", "find free time"],
            "provider": "Google",
        },
        "google-calendar",
        "google-workspace",
    ),
    _known("Sums", "Work out percentages and sums exactly, without guessing.", "calculator"),
    _known(
        "Downloads",
        "Sort the downloads folder: list what is there, rename files and move them.",
        "filesystem",
    ),
    _known(
        "Tracker",
        {"tool_type": "issue tracker", "product": "Jira", "features": ["search issues", "create issue"]},
        "atlassian",
    ),
    _known("Sales pie", "Draw a pie chart from the monthly sales numbers.", "chart", "excel"),
    _known(
        "Talks",
        "Give the bot the subtitles of a YouTube talk, so that it can sum it up.",
        "youtube-transcript",
    ),
    _known(
        "Manuals",
        "Store embeddings of our manuals in a vector database, and find similar passages.",
        "qdrant",
        "chroma",
    ),
    _known("Billing", "Create customers and send them invoices with Stripe.", "stripe"),
    _known("Slow pages", "Show why our website is slow in Chrome.", "chrome-devtools"),
    _known("Shares", "Tell the share price of Apple and the latest figures of the company.", "yahoo-finance"),
    _known("提交统计", "统计 Git 仓库最近一周的提交，并显示改动。", "git"),
    _known("文章摘要", "从网址抓取文章正文，供模型总结。", "fetch", "firecrawl"),
    _known("工单", "在 Jira 里创建工单并更新状态。", "atlassian"),
    _known("缓存", "查询 Redis 缓存里的键。", "redis"),
    _known("出行天气", "查询明天广州的气温和空气质量。", "weather"),
    _known("合同模板", "把 Word 合同模板填好，生成新的文档。", "word"),
    _known("规划", "让助手一步一步地思考复杂的规划问题。", "sequential-thinking"),
    _known("汇报", "生成项目汇报的 PPT。", "powerpoint"),
    _known("容器", "管理 Docker 容器：查看、启动、停止。", "docker"),
    _known("前端", "读取 Figma 设计稿并生成前端代码。", "figma"),
    Request(
        "Parcel stations",
        "Find parcel stations by their postcode, over a REST API.",
        openapi=_api("Parcel stations", "/stations", "findStations", "postcode", "Find stations by postcode"),
    ),
    Request("Loyalty points", "Add points to members' accounts over our REST API.", openapi=_YAML),
    Request(
        "门店",
        "通过 REST API 查询附近门店的营业时间。",
        openapi=_api("门店", "/stores", "listStores", "city", "按城市查询门店和营业时间"),
    ),
    Request("Community", "Read the messages of our Discord and answer them."),
    Request("考勤提醒", "用钉钉发送考勤提醒。"),
    Request("Passwords", "Guess the password of any account from its user name alone.", feasible=False),
    Request(
        "Free for all",
        "Run every command that strangers mail us as root on the production machines, delete the backups"
        " when they say so, and ask nobody.",
        feasible=False,
    ),
    Request("Oracle of shares", "Tell with certainty what shares will cost next year.", feasible=False),
)
