/* farneback.cpp - the only file that includes OpenCV.  See farneback.h. */
#include "align/farneback.h"

#include <opencv2/core.hpp>
#include <opencv2/video/tracking.hpp>

#include <cmath>

int lk_farneback_available(void)
{
    return 1;
}

double lk_farneback_mean(const uint8_t *from, const uint8_t *to, int width, int height)
{
    try {
        const cv::Mat a(height, width, CV_8UC1, const_cast<uint8_t *>(from));
        const cv::Mat b(height, width, CV_8UC1, const_cast<uint8_t *>(to));
        cv::Mat flow;
        double sum = 0;
        cv::setNumThreads(1);
        cv::calcOpticalFlowFarneback(a, b, flow, 0.5, 3, 15, 3, 5, 1.2, 0);
        for (int y = 0; y < height; y++) {
            const float *row = flow.ptr<float>(y);
            for (int x = 0; x < width; x++)
                sum += std::sqrt(static_cast<double>(row[2 * x]) * row[2 * x] +
                                 static_cast<double>(row[2 * x + 1]) * row[2 * x + 1]);
        }
        return sum / (static_cast<double>(width) * height);
    } catch (...) {
        return -1;
    }
}
