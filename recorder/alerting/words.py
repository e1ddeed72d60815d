"""What the relay says, in English and in Chinese.

Owns the two languages' words and the Chinese headings of the alerts; in English an alert's name is its heading.
Summaries and descriptions are the rules' own and stay as they are. Never decides what is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """One language. Strings with braces are filled by `str.format`."""

    firing: str
    resolved: str
    joint: str  # between counts
    colon: str
    severities: Mapping[str, str]
    over: str  # a resolved alert, in place of its severity
    since: str
    period: str
    runbook: str
    more: str
    heading: str
    headings: Mapping[str, str]
    test_summary: str
    test_description: str

    def title(self, alertname: str) -> str:
        """An alert's heading."""
        name = self.headings.get(alertname)
        return alertname if name is None else self.heading.format(name=name, alertname=alertname)


# An alert's name in Chinese. Complete: a test compares it with the rules.
HEADINGS_ZH = {
    "RecorderAbsent": "录制器无响应",
    "RecorderRestarting": "录制器反复重启",
    "RecorderDatabaseDown": "数据库不可用",
    "RecorderNoProgress": "数据停止入库",
    "RecorderLag": "入库滞后",
    "RecorderFeedWithoutData": "数据流无数据",
    "RecorderSilentStreams": "部分订阅无数据",
    "RecorderReconnectSpike": "重连激增",
    "RecorderHeartbeatTimeouts": "心跳超时",
    "RecorderSpoolGrowing": "本地缓存持续增长",
    "RecorderDiskLow": "磁盘空间不足",
    "RecorderShedding": "正在丢弃数据",
    "RecorderGaps": "数据缺口",
    "RecorderQuarantine": "异常消息被隔离",
    "RecorderFeedParked": "连接已暂停",
    "RecorderVenueErrors": "交易所返回错误",
    "RecorderSchemaDrift": "数据格式变化",
    "RecorderClockOffset": "时钟偏差",
    "RecorderTest": "测试消息",
}

ENGLISH = Words(
    firing="{} firing",
    resolved="{} resolved",
    joint=", ",
    colon=": ",
    severities={"critical": "CRITICAL", "warning": "WARNING", "info": "INFO"},
    over="RESOLVED",
    since="since {} UTC",
    period="from {} to {} UTC",
    runbook="runbook: {}",
    more="… and {} more",
    heading="{alertname}",
    headings={},
    test_summary="A test message: nothing is wrong.",
    test_description="Alerts of the recorder will arrive here.",
)

CHINESE = Words(
    firing="{} 条告警",
    resolved="{} 条已恢复",
    joint="，",
    colon="：",
    severities={"critical": "严重", "warning": "警告", "info": "提示"},
    over="已恢复",
    since="自 {} UTC 起",
    period="{} 至 {} UTC",
    runbook="处理手册：{}",
    more="… 另有 {} 条",
    heading="{name}（{alertname}）",
    headings=HEADINGS_ZH,
    test_summary="测试消息：一切正常。",
    test_description="录制器的告警将发送到这里。",
)

LANGUAGES = {"en": ENGLISH, "zh": CHINESE}
